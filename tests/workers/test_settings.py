from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.carbon.trace import SHIPPED_FILES, ForecastModel
from domain.errors import InvalidSettings
from domain.forecast import Signal
from workers.sections import LivePricesSettings, S3HistorySettings
from workers.settings import POLICIES, load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder without a file of settings, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def toml(folder: Path, text: str, name: str = "lowtide.toml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


class TestSources:
    def test_everything_has_a_default(self) -> None:
        """A fresh machine needs no settings."""
        settings = load_settings()
        assert settings.policy == POLICIES / "default.yaml"
        assert settings.refresh_every == timedelta(minutes=5)
        assert settings.trace.average == SHIPPED_FILES[Signal.AVERAGE]
        assert settings.database == Path(".lowtide/lowtide.db")

    def test_environment_over_file_over_defaults(
        self, bare: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Field by field, also within a section; arguments outrank all."""
        toml(
            bare,
            'refresh_every = "1m"\nsettle_every = "2m"\n'
            '[trace]\nhour_s = 5\nhorizon_hours = 24\nforecast = "perfect"\n',
        )
        monkeypatch.setenv("LOWTIDE_REFRESH_EVERY", "30s")
        monkeypatch.setenv("LOWTIDE_TRACE__HOUR_S", "2")
        settings = load_settings(log_level="error")
        assert settings.refresh_every == timedelta(seconds=30)
        assert settings.settle_every == timedelta(minutes=2)
        assert (settings.trace.hour_s, settings.trace.horizon_hours) == (2.0, 24)
        assert settings.trace.forecast is ForecastModel.PERFECT
        assert settings.log_level == "error"

    def test_another_file_may_be_named(self, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """``lowtide.toml`` is then not read."""
        toml(bare, 'log_level = "error"\n')
        monkeypatch.setenv("LOWTIDE_CONFIG", str(toml(bare, 'log_format = "json"\n', "other.toml")))
        settings = load_settings()
        assert (settings.log_format, settings.log_level) == ("json", "info")

    def test_a_list_of_sections_comes_from_the_file_or_as_json(
        self, bare: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Reclaims to inject, for instance."""
        toml(bare, '[[reclaims]]\npattern = "job-demo-*"\nafter_s = 1.5\n')
        assert load_settings().reclaims[0].pattern == "job-demo-*"
        monkeypatch.setenv("LOWTIDE_RECLAIMS", '[{"pattern": "job-x-*", "after_s": 2}]')
        assert [item.pattern for item in load_settings().reclaims] == ["job-x-*"]

    def test_an_empty_name_leaves_a_signal_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A trace of averages has no marginal one beside it."""
        monkeypatch.setenv("LOWTIDE_TRACE__MARGINAL", "")
        assert load_settings().trace.marginal is None

    def test_what_a_run_is_told_of_itself_is_no_setting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A job's program may call ``lowtide`` in its own environment."""
        for name in ("JOB", "ATTEMPT", "REGION", "CHECKPOINT_URI", "OUTPUT_URI"):
            monkeypatch.setenv(f"LOWTIDE_{name}", "x")
        assert load_settings() == load_settings()


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("LOWTIDE_POLCY", "x", "LOWTIDE_POLCY: what it holds .*perhaps policy"),
            (
                "LOWTIDE_TRACE_HOUR_S",
                "2",
                "LOWTIDE_TRACE_HOUR_S: what it holds .*workers/settings.py",
            ),
            ("LOWTIDE_TRACE__HOURS", "2", "LOWTIDE_TRACE__HOURS: '2' .*workers/settings.py"),
            ("LOWTIDE_TRACE", "fast", 'field "trace"'),
            ("LOWTIDE_TRACE__HOUR_S", "0", "LOWTIDE_TRACE__HOUR_S: '0' .*greater than 0"),
            ("LOWTIDE_TRACE__AVERAGE", "", "LOWTIDE_TRACE: .*average, marginal or both"),
            ("LOWTIDE_TRACE__TRACE_AT", "2019-06-04", "TRACE_AT: '2019-06-04' .*a time zone"),
            (
                "LOWTIDE_POLICY",
                "absent.yaml",
                "LOWTIDE_POLICY: 'absent.yaml' .*a file that is there",
            ),
            ("LOWTIDE_REFRESH_EVERY", "0s", "LOWTIDE_REFRESH_EVERY: '0s' .*greater than"),
            ("LOWTIDE_REFRESH_EVERY", "often", "LOWTIDE_REFRESH_EVERY: 'often' .*as 90s"),
            ("LOWTIDE_LOG_FORMAT", "xml", "LOWTIDE_LOG_FORMAT: 'xml' .*'console' or 'json'"),
            ("LOWTIDE_WORKER__HEALTH_PORT", "99999", "HEALTH_PORT: '99999' .*65535"),
            ("LOWTIDE_CONFIG", "absent.toml", "LOWTIDE_CONFIG: absent.toml .*a TOML file"),
        ],
    )
    def test_a_bad_setting_is_told_by_its_name(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
    ) -> None:
        """As it is called in the environment; one that does not exist is not ignored."""
        if name == "LOWTIDE_TRACE__AVERAGE":
            monkeypatch.setenv("LOWTIDE_TRACE__MARGINAL", "")
        monkeypatch.setenv(name, value)
        with pytest.raises(InvalidSettings, match=told):
            load_settings()

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("polcy = 1\n", "LOWTIDE_POLCY: what it holds .*perhaps policy"),
            ("[worker]\nthreads = 4\n", "LOWTIDE_WORKER__THREADS: 4"),
            ("policy = \n", "LOWTIDE_CONFIG: lowtide.toml .*TOML"),
        ],
    )
    def test_a_bad_file_is_told(self, bare: Path, text: str, told: str) -> None:
        """Unknown names and what is no TOML."""
        toml(bare, text)
        with pytest.raises(InvalidSettings, match=told):
            load_settings()

    def test_all_faults_are_told_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker that will not start should say everything that is wrong."""
        monkeypatch.setenv("LOWTIDE_LOG_LEVEL", "loud")
        monkeypatch.setenv("LOWTIDE_TRACE__HORIZON_HOURS", "1000")
        with pytest.raises(InvalidSettings) as raised:
            load_settings()
        fields = {item.field for item in raised.value.problems}
        assert fields == {"LOWTIDE_LOG_LEVEL", "LOWTIDE_TRACE__HORIZON_HOURS"}


class TestKinds:
    """A part that can be had in more than one way names its kind, and has that kind's fields."""

    def test_a_kind_brings_its_own_fields(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From the environment, as everything else."""
        monkeypatch.setenv("LOWTIDE_HISTORY__KIND", "s3")
        monkeypatch.setenv("LOWTIDE_HISTORY__BUCKET", "carbon")
        monkeypatch.setenv("LOWTIDE_HISTORY__REGION", "eu-central-1")
        history = load_settings().history
        assert isinstance(history, S3HistorySettings)
        assert (history.bucket, history.prefix) == ("carbon", "carbon-intensity")

    @pytest.mark.parametrize(
        ("section", "told"),
        [
            ({"history": {"kind": "s4"}}, "LOWTIDE_HISTORY__KIND: 's4' .*'none', 's3', 'time"),
            ({"history": {"bucket": "carbon"}}, "LOWTIDE_HISTORY__KIND: nothing is not allowed"),
            ({"history": {"kind": "s3"}}, "LOWTIDE_HISTORY__BUCKET: nothing is not allowed"),
            ({"store": {"kind": "dynamodb"}}, "LOWTIDE_STORE__REGION: nothing is not allowed"),
            ({"store": {"kind": "sqlite", "region": "x"}}, "LOWTIDE_STORE__REGION: 'x' is not"),
            ({"secrets": {"kind": "vault", "role": "x"}}, "LOWTIDE_SECRETS__URL: nothing is not"),
            (
                {"price_feed": {"kind": "guess"}},
                "LOWTIDE_PRICE_FEED__KIND: 'guess' .*'table', 'live'",
            ),
            ({"price_feed": {"aws": "ec2"}}, "LOWTIDE_PRICE_FEED__KIND: nothing is not allowed"),
            (
                {"price_feed": {"kind": "live", "instance_types": ["t3.large"]}},
                "LOWTIDE_PRICE_FEED__INSTANCE_TYPES__0: 't3.large' .*as m6i.xlarge",
            ),
            (
                {"price_feed": {"kind": "live", "instance_types": []}},
                "LOWTIDE_PRICE_FEED__INSTANCE_TYPES: .*at least 1",
            ),
            ({"signals": {"source": "guess"}}, "LOWTIDE_SIGNALS__SOURCE: 'guess' is not"),
            ({"signals": {"horizon_hours": 30}}, "LOWTIDE_SIGNALS__HORIZON_HOURS: 30 is not"),
            (
                {"signals": {"watttime": {"modle": "2023-03-01"}}},
                "LOWTIDE_SIGNALS__WATTTIME__MODLE: '2023-03-01' is not",
            ),
        ],
    )
    def test_what_is_wrong_is_told_by_its_name(self, section: dict[str, Any], told: str) -> None:
        """As it would be set in the environment, whatever the kind."""
        with pytest.raises(InvalidSettings, match=told):
            load_settings(**section)

    def test_live_prices_need_no_more_than_their_kind(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The table under version control is the default."""
        assert load_settings().price_feed.kind == "table"
        monkeypatch.setenv("LOWTIDE_PRICE_FEED__KIND", "live")
        monkeypatch.setenv("LOWTIDE_PRICE_FEED__INSTANCE_TYPES", '["m7i.2xlarge"]')
        feed = load_settings().price_feed
        assert isinstance(feed, LivePricesSettings)
        assert (feed.aws, feed.instance_types) == ("ec2", ("m7i.2xlarge",))

    def test_production_reads_no_keys_from_the_environment(self) -> None:
        """Only the embedded product does; the replayed trace needs none."""
        store = {"kind": "dynamodb", "region": "eu-central-1"}
        with pytest.raises(InvalidSettings, match=r"secrets.kind vault where store.kind is dynamo"):
            load_settings(store=store, signals={"source": "live"})
        assert load_settings(store=store).store.kind == "dynamodb"
        vault = {"kind": "vault", "url": "https://vault", "role": "lowtide"}
        assert load_settings(store=store, signals={"source": "live"}, secrets=vault)
