import json

from cervix_jax.training import writers


def test_json_lines_drop_what_a_resumed_run_writes_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = writers.JsonLinesWriter(path, after_step=0)
    for step in (10, 20, 30):
        first.write_scalars(step, {"loss": 1.0 / step})
    first.close()
    with path.open("a") as file:
        file.write('{"step": 40, "lo')  # a crash in the middle of a line
    second = writers.JsonLinesWriter(path, after_step=20)
    second.write_scalars(30, {"loss": 0.5})
    second.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30]
    assert rows[-1]["loss"] == 0.5


def test_event_files_are_read_by_tensorboard_format(tmp_path):
    writer = writers.make_writer(tmp_path, after_step=0)
    writer.write_scalars(1, {"val/accuracy": 0.5})
    writer.close()
    events = list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"val/accuracy" in events[0].read_bytes()
    assert writers.read_json_lines(tmp_path / "metrics.jsonl") == [{"step": 1, "val/accuracy": 0.5}]


def test_no_file_is_no_rows(tmp_path):
    assert writers.read_json_lines(tmp_path / "absent.jsonl") == []
