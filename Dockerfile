# The worker image. The same image runs `lowtide worker`, and `lowtide worker --setup-only` once.
FROM python:3.12-slim AS build
WORKDIR /app
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements.lock pyproject.toml README.md lowtide.py ./
RUN python -m venv /venv && /venv/bin/pip install --require-hashes --requirement requirements.lock
COPY domain domain
COPY workflows workflows
COPY activities activities
COPY workers workers
COPY clients clients
COPY policies policies
RUN /venv/bin/pip install --no-deps --no-build-isolation .

FROM python:3.12-slim
# A user of its own; state of the embedded product goes to a volume.
RUN useradd --uid 10001 --create-home lowtide && mkdir /state && chown lowtide /state
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 LOWTIDE_STATE_DIR=/state LOWTIDE_LOG_FORMAT=json \
    LOWTIDE_WORKER__HEALTH_PORT=8080
USER 10001
WORKDIR /home/lowtide
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["lowtide"]
CMD ["worker"]
