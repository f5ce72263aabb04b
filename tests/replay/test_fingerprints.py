"""The commands that workflows issue are the ones that were last accepted."""

from __future__ import annotations

import difflib

import pytest

from tests.replay.fingerprint import baseline, fingerprints, sources

LESSON = """\
{workflow} issues other commands than before:

{diff}

Executions that are open now, deferred jobs above all, were recorded by the code before and are
replayed by the code after. Where a recorded command is missing, new or in another place, replay
fails and the job is stuck.

- If open executions can come through the changed lines, keep the old way beside the new one:

      if workflow.patched("what-changed"):
          ...  # the new commands
      else:
          ...  # the old ones, until no execution from before is open

  A job pinned to its build is safe from the change until a look continues it as new, unversioned
  workers (dev, compose) are not.
- If the change is one of names, or a branch that no open execution can have reached, it is safe.

Then run `make record-histories`. It adds a recorded history for each new branch that has a
scenario (write one) and renews this baseline. Commit both with the change. Never delete or renew
an old history so that a test passes: it stands for executions that may still be open.
"""


@pytest.mark.parametrize("workflow", sorted(baseline().keys() | fingerprints(sources()).keys()))
def test_a_workflow_issues_the_commands_that_were_accepted(workflow: str) -> None:
    """No command was added, removed or moved without a word."""
    accepted = baseline().get(workflow, [])
    found = fingerprints(sources()).get(workflow, [])
    diff = "\n".join(difflib.unified_diff(accepted, found, "accepted", "found", n=1, lineterm=""))
    assert accepted == found, LESSON.format(workflow=workflow, diff=diff)


class TestTheFingerprintItself:
    """A guard that cannot fail guards nothing."""

    def changed(self, module: str, before: str, after: str) -> set[str]:
        """The workflows whose fingerprint an edit changes."""
        modules = sources()
        assert modules[module].count(before) == 1
        was = fingerprints(modules)
        modules[module] = modules[module].replace(before, after)
        now = fingerprints(modules)
        return {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}

    def test_another_activity_is_seen(self) -> None:
        """The name of the step is part of the command, wherever it is called from."""
        assert self.changed("workflows.calls", "Step.FINISH_JOB", "Step.RECORD_OVERRIDES") == {
            "CarbonAwareJob"
        }

    def test_a_lost_timer_is_seen(self) -> None:
        """A wait without a time-out starts no timer."""
        timed = "news, timeout=wait, timeout_summary=summary"
        assert self.changed("workflows.sleep", timed, "news") == {"CarbonAwareJob"}

    def test_two_steps_that_change_places_are_seen(self) -> None:
        """The order of calls counts where their commands stand in other modules."""
        search_attributes = "        self._enter(Phase.PLANNING)\n"
        decision = "        await self._choose(reason)\n        return None\n"
        swapped = decision.replace("        return", search_attributes + "        return")
        edit = (search_attributes + decision, swapped)
        assert self.changed("workflows.job", *edit) == {"CarbonAwareJob"}

    def test_a_command_in_a_module_beside_is_seen(self) -> None:
        """Modules that a workflow imports are read with it."""
        waits = "    await workflow.wait_condition(workflow.all_handlers_finished)\n"
        sleeps = waits + "    await workflow.sleep(1)\n"
        assert self.changed("workflows.ending", waits, sleeps) == {"CarbonAwareJob"}

    def test_a_new_workflow_is_seen(self) -> None:
        """A workflow that nobody accepted yet is no workflow of the baseline."""
        renamed = ('defn(name="WatchRegion")', 'defn(name="WatchZone")')
        assert self.changed("workflows.watch", *renamed) == {"WatchRegion", "WatchZone"}

    def test_words_and_values_are_not_commands(self) -> None:
        """Renaming what no replay compares changes nothing."""
        assert self.changed("workflows.calls", 'summary="look again"', 'summary="look"') == set()
