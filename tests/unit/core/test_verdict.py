"""Verdicts, by example."""

from __future__ import annotations

from math import log

import pytest

from degrade.core.policy import SLA
from degrade.core.verdict import Judge, Judgement

HEALTH = (100_000, 0)


def errors(limit="5%", **policy) -> Judge:
    return Judge(SLA(errors=limit, **policy))


@pytest.mark.parametrize(
    ("policy", "counts", "outcome"),
    [
        ({"errors": "5%"}, (3, 3), "breach"),
        ({"errors": "5%"}, (2, 2), "unknown"),
        ({"errors": "5%"}, (3, 2), "unknown"),
        ({"errors": "5%"}, (20, 4), "unknown"),
        ({"errors": "5%"}, (5, 3), "unknown"),
        ({"errors": "5%"}, (4, 3), "unknown"),
        ({"errors": "5%"}, (6, 4), "breach"),
        ({"p99": "250ms"}, (1_000, 10), "kept"),
        ({"p99": "250ms"}, (1_000, 11), "unknown"),
        ({"p99": "250ms"}, (1_000, 23), "unknown"),
        ({"p99": "250ms"}, (1_000, 24), "breach"),
        ({"errors": "10%"}, (3, 3), "breach"),  # 3 ln 10 is ln 1000, to the last bit or not
        ({"p90": "1s"}, (3, 3), "breach"),
        ({"p90": "1s"}, (1_000, 100), "kept"),
        ({"errors": "29%"}, (100, 29), "kept"),
        ({"p50": "1s"}, (9, 9), "unknown"),
        ({"p50": "1s"}, (10, 10), "breach"),
        ({"p50": "1s"}, (9, 0), "unknown"),
        ({"p50": "1s"}, (10, 0), "kept"),
        ({"p999": "1s"}, (3, 3), "breach"),
        ({"errors": "5%"}, (0, 0), "unknown"),
        ({"errors": "5%"}, (2, 0), "unknown"),
        ({"errors": "5%"}, (3, 0), "kept"),
    ],
)
def test_a_window_breaches_its_limit_only_beyond_doubt(policy, counts, outcome):
    verdict = Judge(SLA(**policy)).judge(counts)
    assert verdict.outcome == outcome
    assert verdict.breach is (outcome == "breach")


@pytest.mark.parametrize(
    ("min_bad", "counts", "breach"),
    [(1, (1, 1), False), (1, (2, 2), False), (5, (4, 4), False), (5, (5, 5), True)],
)
def test_fewer_bad_calls_than_the_policy_asks_for_are_never_a_breach(min_bad, counts, breach):
    assert errors(min_bad=min_bad).judge(counts).breach is breach


def test_a_single_bad_call_is_a_breach_if_the_policy_says_so():
    assert errors("0.05%", min_bad=1).judge((1, 1)).breach
    assert errors("0.05%", min_bad=1).judge((1_000, 1)).outcome is Judgement.UNKNOWN


@pytest.mark.parametrize(("confidence", "bad"), [("50%", 3), ("99.9%", 3), ("99.99999%", 6)])
def test_a_higher_confidence_asks_for_more(confidence, bad):
    judge = errors(confidence=confidence)
    assert not judge.judge((bad - 1, bad - 1)).breach
    assert judge.judge((bad, bad)).breach


class TestTheNewestCalls:
    def test_catch_an_outage_that_the_window_would_not_see(self):
        assert not errors().judge(HEALTH).breach
        verdict = errors().judge((100_011, 11), [(0, 0), (11, 11), (500, 11)])
        assert verdict.outcome is Judgement.BREACH

    def test_need_more_evidence_than_the_window(self):
        assert errors().judge((10, 10)).breach
        assert not errors().judge((100_010, 10), [(10, 10)]).breach
        assert errors().judge((100_011, 11), [(11, 11)]).breach

    def test_need_as_much_evidence_as_the_window_where_that_is_more(self):
        sure = errors(confidence=1 - 2**-50)  # ln 2**50 = 34.7
        assert not sure.judge((100_011, 11), [(11, 11)]).breach
        assert sure.judge((100_012, 12), [(12, 12)]).breach

    def test_need_as_many_bad_calls_as_the_window(self):
        judge = errors(min_bad=20)
        assert not judge.judge((100_019, 19), [(19, 19)]).breach
        assert judge.judge((100_020, 20), [(20, 20)]).breach

    def test_alone_do_not_say_that_the_limit_is_in_doubt(self):
        assert errors().judge((1_000, 2), [(2, 2)]).outcome is Judgement.KEPT

    def test_of_one_limit_are_not_those_of_another(self):
        judge = Judge(SLA(p99="1s", errors="50%"))
        slow, failed = (100_020, 20, 100_020, 0), (100_020, 0, 100_020, 20)
        assert judge.judge(slow, [(20, 20, 20, 0)]).breach
        assert not judge.judge(failed, [(20, 0, 20, 20)]).breach


class TestSeveralLimits:
    judge = Judge(SLA(p50="20ms", p99="250ms", errors="5%"))

    @pytest.mark.parametrize(
        ("totals", "outcome"),
        [
            ((100, 0, 100, 0, 100, 0), "kept"),
            ((100, 90, 100, 0, 100, 0), "breach"),
            ((100, 0, 100, 9, 100, 0), "breach"),
            ((100, 0, 100, 0, 100, 30), "breach"),
            ((100, 0, 100, 2, 100, 0), "unknown"),
            ((3, 0, 3, 0, 3, 0), "unknown"),
            ((3, 0, 3, 0, 3, 3), "breach"),
        ],
    )
    def test_are_breached_by_any_and_kept_by_all(self, totals, outcome):
        verdict = self.judge.judge(totals)
        assert verdict.outcome == outcome
        assert verdict.breach is (outcome == "breach")

    def test_have_a_finding_each_in_the_order_of_the_policy(self):
        findings = self.judge.judge((3, 0, 100, 9, 100, 1)).findings
        assert [found.limit.name for found in findings] == ["p50", "p99", "errors"]
        assert [found.outcome for found in findings] == ["unknown", "breach", "kept"]
        assert [found.breach for found in findings] == [False, True, False]
        assert [(found.n, found.bad) for found in findings] == [(3, 0), (100, 9), (100, 1)]


class TestAFinding:
    def test_of_a_window_carries_its_numbers(self):
        (found,) = errors().judge((20, 5)).findings
        assert (found.n, found.bad, found.share) == (20, 5, 0.25)
        assert (found.over, found.over_s) == ("window", 30.0)
        assert found.evidence == pytest.approx(5 * log(5) + 15 * log(15 / 19))
        assert found.needed == pytest.approx(6.9078, abs=1e-4)
        assert (found.to_breach, found.to_clear) == (2, None)

    def test_without_a_call_has_no_share(self):
        (found,) = errors().judge((0, 0)).findings
        assert found.share is None
        assert found.evidence == 0.0

    def test_within_the_limit_has_no_evidence(self):
        (found,) = errors().judge((100, 5)).findings
        assert found.evidence == 0.0

    def test_of_the_newest_calls_says_how_many_buckets_they_are(self):
        newest = [(6, 6), (12, 12), (13, 12), (30, 12)]
        (found,) = errors(over="5m").judge((1_000, 12), newest).findings
        assert (found.over, found.over_s) == ("newest 2", 2.0)
        assert (found.n, found.bad) == (12, 12)
        assert found.needed == pytest.approx(30.0)

    def test_of_a_short_window_has_short_buckets(self):
        (found,) = errors(over="3s").judge((1_000, 12), [(12, 12)]).findings
        assert (found.over, found.over_s) == ("newest 1", 0.1)

    def test_prefers_the_window_to_its_newest_calls(self):
        (found,) = errors().judge((20, 20), [(20, 20)]).findings
        assert found.over == "window"

    def test_names_what_would_end_a_breach_everywhere(self):
        alone = errors().judge((20, 20)).findings[0].to_clear
        both = errors().judge((40, 20), [(20, 20)]).findings[0].to_clear
        window = errors().judge((40, 20)).findings[0].to_clear
        assert window < alone
        assert both == window

    @pytest.mark.parametrize(
        ("calls", "newest_calls", "of_the_window", "of_the_newest"),
        [(50, 0, 12, 11), (60, 1, 13, 12), (40, 0, 10, 11), (45, 1, 11, 12)],
    )
    def test_names_the_fewest_calls_that_either_lacks_to_the_very_call(
        self, calls, newest_calls, of_the_window, of_the_newest
    ):
        newest = [(newest_calls, 0)]
        assert errors().judge((calls, 0)).findings[0].to_breach == of_the_window
        assert errors().judge(HEALTH, newest).findings[0].to_breach == of_the_newest
        fewest = min(of_the_window, of_the_newest)
        assert errors().judge((calls, 0), newest).findings[0].to_breach == fewest

    def test_names_what_the_newest_calls_lack_when_that_is_less(self):
        assert errors().judge(HEALTH).findings[0].to_breach > 5_000
        assert errors().judge(HEALTH, [(0, 0), (50, 0)]).findings[0].to_breach == 11
        assert errors().judge(HEALTH, [(50, 0), (50, 0)]).findings[0].to_breach > 11
        assert errors().judge((100, 0), [(50, 0), (50, 0)]).findings[0].to_breach == 17


class TestAVerdictExplainsItself:
    judge = Judge(SLA(p99="250ms", errors="5%", over="1m"))

    def test_when_all_is_well(self):
        verdict = self.judge.judge((1_000, 10, 1_000, 0))
        assert verdict.lines() == (
            (
                "p99 250ms: kept: 10 of 1000 calls slow in 1m, 1% against a limit of 1%; "
                "14 more slow calls would breach it"
            ),
            (
                "errors: kept: 0 of 1000 calls failed in 1m, 0% against a limit of 5%; "
                "83 more failed calls would breach it"
            ),
        )
        assert verdict.cause == "kept"

    def test_when_there_is_too_little_evidence(self):
        verdict = self.judge.judge((0, 0, 2, 2))
        assert verdict.lines() == (
            (
                "p99 250ms: too little evidence: no calls in 1m, against a limit of 1%; "
                "3 more slow calls would breach it"
            ),
            (
                "errors: too little evidence: 2 of 2 calls failed in 1m, 100% against a limit of 5%, "
                "evidence 6.0 of 6.9; 1 more failed call would breach it"
            ),
        )
        assert verdict.cause == "unknown"

    def test_when_the_window_is_a_breach(self):
        verdict = self.judge.judge((3, 0, 3, 3))
        assert verdict.lines()[1] == (
            "errors: breach: 3 of 3 calls failed in 1m, 100% against a limit of 5%, "
            "evidence 9.0 of 6.9; 1 more good call would end it"
        )
        assert verdict.cause == (
            "errors: 3 of 3 calls failed in 1m, 100% against a limit of 5%, evidence 9.0 of 6.9"
        )

    def test_when_the_newest_calls_are_a_breach_of_both(self):
        verdict = self.judge.judge((100_015, 14, 100_015, 15), [(0, 0, 0, 0), (15, 14, 15, 15)])
        assert verdict.cause == (
            "p99 250ms: 14 of 15 calls slow in the newest 2s, 93.33% against a limit of "
            "1%, evidence 60.8 of 30.0; errors: 15 of 15 calls failed in the newest 2s, "
            "100% against a limit of 5%, evidence 44.9 of 30.0"
        )


class TestQuiet:
    judge = Judge(SLA(p99="250ms", errors="5%"))

    @pytest.mark.parametrize(
        ("totals", "quiet"),
        [
            ((0, 0, 0, 0), True),
            ((1_000, 0, 1_000, 0), True),
            ((2, 2, 2, 2), True),  # fewer than min_bad
            ((3, 3, 3, 0), False),
            ((3, 0, 3, 3), False),
            ((1_000, 6, 1_000, 10), True),  # within the limits, too few even for the newest
            ((600, 6, 200, 10), True),  # the share of the limit is within it
            ((1_000, 7, 1_000, 10), False),  # 7 slow calls in a row would be a breach
            ((1_000, 6, 1_000, 11), False),
            ((599, 6, 1_000, 0), False),
        ],
    )
    def test_tells_windows_in_which_no_breach_can_lie(self, totals, quiet):
        assert self.judge.quiet(totals) is quiet


class TestTheWindowsOfAJudge:
    @pytest.mark.parametrize(
        ("over", "ring_bucket_s"), [("30s", 1.0), ("1h", 1.0), ("15s", 0.5), ("1s", 1 / 30)]
    )
    def test_are_the_policys_and_a_ring_of_its_newest_ten_buckets(self, over, ring_bucket_s):
        sla = SLA(p99="250ms", errors="5%", over=over)
        window, ring = Judge(sla).windows()
        assert window.bucket_s == pytest.approx(sla.over / 30)
        assert ring.bucket_s == pytest.approx(ring_bucket_s)
        assert len(window.suffixes(0.0)) == 30
        assert len(ring.suffixes(0.0)) == 10

    def test_have_two_counters_a_limit(self):
        window, ring = Judge(SLA(p50="10ms", p99="250ms", errors="5%")).windows()
        assert window.totals(0.0) == ring.totals(0.0) == (0,) * 6

    def test_are_new_each_time(self):
        judge = errors()
        judge.windows()[0].add(0.0, (1, 1))
        assert judge.windows()[0].totals(0.0) == (0, 0)


def test_a_judge_and_what_it_said_show_themselves():
    judge = errors()
    assert repr(judge) == "Judge(errors 5% over 30s)"
    verdict = judge.judge((3, 3), [(3, 3)])
    assert (verdict.totals, verdict.newest) == ((3, 3), [(3, 3)])
    assert verdict.judge is judge
    assert judge.sla == SLA(errors="5%")


@pytest.mark.parametrize("errors", [1e-9, 0.999_999])
@pytest.mark.parametrize("min_bad", [1, 1_000_000])
@pytest.mark.parametrize("confidence", [0.5, 1 - 1e-16])
def test_every_policy_that_is_accepted_can_be_judged_and_explained(errors, min_bad, confidence):
    judge = Judge(SLA(errors=errors, min_bad=min_bad, confidence=confidence))
    assert not judge.judge((0, 0)).breach
    (finding,) = judge.findings((10**10, 10**9), [])
    assert (finding.to_clear or finding.to_breach or 0) > 0
