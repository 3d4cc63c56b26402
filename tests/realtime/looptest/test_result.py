"""The numbers for a person and for a script, and the picture."""

import json
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from realtime.looptest.picture import picture
from realtime.looptest.result import EchoResult, interval_text

MS = 1_000_000


def test_json_holds_what_the_table_shows(make_bench):
    result = make_bench(12.34, n_pulses=20, dropped=0.1).measure()
    told = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    light = result.light_ms()
    assert told["command_to_light_ms"]["p50"] == dict(zip(("value", "low_95", "high_95"), light["p50"], strict=True))
    assert math.isinf(light["p99"][2])
    assert told["command_to_light_ms"]["p99"]["high_95"] is None
    assert told["command_to_frame_ms"] == result.seen_ms()
    assert (told["n_pulses"], told["n_seen"], told["n_missed"], told["n_locating"]) == (20, 20, 0, 12)
    assert told["n_lost_frames"] == result.n_lost > 0
    assert told["frame_to_light_ms"] is None
    unclear = [pulse["light_ms"] is None for pulse in told["pulses"]]
    assert unclear == result.blinks.unclear.tolist()
    assert 0 < sum(unclear) < 20
    assert (
        f"{sum(unclear)} pulses have a lost frame beside their onset and tell nothing of the delay"
        in (told["warnings"])
    )


def test_what_is_included_is_said(make_bench):
    remarks = " ".join(make_bench(12.34, n_pulses=20).measure(transfer_ns=2 * MS).remarks())
    assert "20 of 20 pulses seen in region 8,6,9,7" in remarks
    assert "a frame every 10.00 ms gathers light for" in remarks
    assert "read-out and transfer of a frame, less 2 ms as told; not included: the model and the loop" in remarks
    assert "the interval of p99 has no upper end: 20 pulses are too few" in remarks


def test_a_frame_that_shows_light_comes_after_the_light(make_bench):
    result = make_bench(12.34, n_pulses=20, late_ms=1.0).measure()
    assert np.all(result.blinks.seen_ns >= result.delays.pulses_ns - MS)
    assert result.seen_ms()["p50"] > result.light_ms()["p50"][0]


def test_frame_to_light_is_the_loop_and_the_light(make_bench):
    """Two delays by two loops: every command may have met with every delay."""
    loop_ns = np.repeat([2 * MS, 7 * MS], [300, 100])
    result = make_bench(lambda n: 10.0 if n % 2 else 30.0, n_pulses=60, exposure_ms=10.0).measure(loop_ns=loop_ns)
    sums = result.frame_to_light_ms()
    ways = np.sort([a + b for a in (2.0, 2.0, 2.0, 7.0) for b in (10.0, 30.0)])
    assert sums["p95"] == pytest.approx(ways[-1], abs=0.5)  # 7 + 30: one way in eight
    assert 17.0 - 0.5 <= sums["p50"] <= 32.0 + 0.5
    assert any("the loop of 400 commands of that session" in remark for remark in result.remarks())
    assert result.as_dict()["frame_to_light_ms"] == sums


def texts(drawing):
    root = ET.fromstring(drawing)
    return [element.text for element in root.iter() if element.tag.endswith("text")], root


def test_the_picture_shows_every_pulse_and_the_percentiles(make_bench):
    result = make_bench(12.34, n_pulses=20, dropped=0.1).measure()
    words, root = texts(picture(result))
    value, low, high = result.light_ms()["p50"]
    assert f"p50 {value:.2f} ms ({low:.2f}–{high:.2f})" in words
    assert any(word.startswith("p99") and word.endswith("–…)") for word in words)
    assert "20 pulses of 31 ms on lamp channel 0" in words
    dots = [element for element in root.iter() if element.tag.endswith("circle")]
    assert len(dots) == 40 - np.count_nonzero(result.blinks.unclear)
    assert "nan" not in picture(result)
    assert "inf" not in picture(result)


def test_the_picture_of_echoes(make_bench):
    plan = make_bench(locate=False, n_pulses=20).plan
    result = EchoResult(plan, np.linspace(1, 3, 20) * MS, np.full(20, 0.1 * MS))
    words, root = texts(picture(result))
    assert "Command → acknowledgement" in words
    assert "p50 2.00 ms" in words
    assert len([element for element in root.iter() if element.tag.endswith("circle")]) == 20


def test_an_interval_without_an_end():
    assert interval_text(1.0, 2.345) == "1.00–2.35"
    assert interval_text(1.0, math.inf) == "1.00–…"
