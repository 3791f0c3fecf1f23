"""The engine: nothing finished is lost, nothing is done twice, nothing resumes that must not."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest
from conftest import needs_data
from laboratory import ROOT, Lab, canonical, edit, environment, lab, own_lab  # noqa: F401

from equitutor.studies import __main__ as cli
from equitutor.studies import code, engine, load, records, workers
from equitutor.studies.study import find

FIT_STEPS = 500  # of size "cpu"


def until(ready, seconds=900):
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The grid of 24 runs, one after another in this process."""
    made = Lab(tmp_path_factory.mktemp("reference"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_LOG", str(made.log))
        report = made.run()
    assert (report.done, report.recorded, report.failed) == (24, 0, [])
    return made


# The same records everywhere ---------------------------------------------------------------


def test_a_record_holds_what_the_run_did(reference):
    runs = load("toy", results=reference.results)
    assert len(runs) == 24
    assert runs["error"].nunique() == 24
    assert set(runs["taken"]) == {60.0}
    assert set(runs["stale"]) == {""}
    (first, *_) = reference.records()
    assert set(first["code"]) >= {"toy", "toy_helper", "equitutor.training", "equitutor.runtime"}
    assert not {n for n in first["code"] if n.startswith("equitutor.studies")}
    assert first["versions"]["torch"]
    assert first["seconds"] > 0
    assert first["peak_mb"] > 50
    assert first["device"]


def test_the_pool_gives_the_same_records(lab, reference, capsys):  # noqa: F811
    assert cli.main(lab.words("run", "--workers", "2")) == 0
    assert "24 runs done, 0 had a record, 0 failed" in capsys.readouterr().out
    assert lab.facts() == reference.facts()
    assert len(lab.lines("start")) == 24
    assert cli.main(lab.words("run", "--workers", "2")) == 0
    assert "0 runs done, 24 had a record, 0 failed" in capsys.readouterr().out
    assert len(lab.lines("start")) == 24


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    from distributed import LocalCluster

    made = Lab(tmp_path_factory.mktemp("dask"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(made, sleep=0.01).items():
            patch.setenv(name, value)
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            yield cluster, made.log


@pytest.mark.parametrize("killed", [False, True], ids=["whole", "one worker killed"])
def test_a_dask_cluster_gives_the_same_records(lab, reference, dask, killed):  # noqa: F811
    cluster, lab.log = dask
    lab.log.unlink(missing_ok=True)
    victim = cluster.workers[0].pid

    def kill():
        until(lambda: len(lab.lines("start")) >= 6)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    if killed:
        killer.start()
    assert cli.main(lab.words("run", "--scheduler", cluster.scheduler_address)) == 0
    if killed:
        killer.join()
        assert not psutil.pid_exists(victim) or cluster.workers[0].pid != victim
    assert lab.facts() == reference.facts()
    assert len(lab.lines("start")) <= 24 + 2 * killed


def test_the_commands_of_the_page_on_clusters_do_it(lab, reference, tmp_path):  # noqa: F811
    """`book/cluster.md`: a scheduler, workers and the study, as they are typed there."""
    page = (ROOT / "book/cluster.md").read_text(encoding="utf-8")
    typed = re.findall(r"^(?:OMP_NUM_THREADS=1 )?((?:dask|python) .*8786.*)$", page, re.MULTILINE)
    scheduler, worker, study, *_ = [w for w in typed if "cuda" not in w]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started, bin = [], Path(sys.executable).parent
    env = os.environ | environment(lab)

    def start(command, *more):
        words = command.replace("HOST", "127.0.0.1").replace("8786", port).split()
        words = [sys.executable if w == "python" else w for w in [*words, *more]]
        words[0] = str(bin / "dask") if words[0] == "dask" else words[0]
        started.append(subprocess.Popen(words, env=env, cwd=tmp_path))
        return started[-1]

    try:
        start(scheduler, "--no-dashboard")
        start(worker.replace("--nworkers 4", "--nworkers 2"), "--no-dashboard")
        toy = study.replace("polyphase-vit --size gpu", "toy").replace("/shared/runs", "runs")
        done = start(toy, "--results", str(lab.results))
        assert done.wait(600) == 0
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(60)
    assert lab.facts() == reference.facts()


def test_threads_of_one_process_take_turns(lab, reference):  # noqa: F811
    """Random numbers belong to the process: runs beside each other would mix them."""
    with ThreadPoolExecutor(4) as threads:
        lab.run(executor=threads)
    assert lab.facts() == reference.facts()


# Killed ------------------------------------------------------------------------------------

DRIVER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from equitutor.studies import engine
make = partial(engine.pool, 2) if "pool" in sys.argv else partial(ThreadPoolExecutor, 1)
report = engine.run("toy", "cpu", None, make, {results!r}, {checkpoints!r}, 0.02, False)
sys.exit(bool(report.failed))
"""
SERVER = """
import os, sys, torch, torch.optim, toy
from equitutor.studies import engine, records
engine._code_here("toy")
weight = torch.zeros(1, requires_grad=True)
weight.grad = torch.zeros(1)
torch.optim.AdamW([weight]).step()  # imports much
for line in sys.stdin:  # each line starts a driver, which is there at once
    child = os.fork()
    if child == 0:
        exec(sys.argv[1])
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def driver(lab):  # noqa: F811
    return DRIVER.format(results=str(lab.results), checkpoints=str(lab.checkpoints))


def start(lab, *words, sleep=0.01):  # noqa: F811
    """Starts a driver in a session of its own, as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-c", driver(lab), *words], env=environment(lab, sleep),
        start_new_session=True, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("unbroken"))
    made.run("cpu")
    return made.facts()


def check_steps(lines):
    """Checks that a run which starts again goes on where it was, but for one interval."""
    reached, begun = {}, None
    for line in lines:
        word, *rest = line.split()
        if word == "start":
            begun = canonical(rest)
            fresh = True
        elif word == "step":
            step = int(rest[0])
            if fresh:  # a checkpoint each 50 steps, and one that was not written to its end
                assert step >= reached.get(begun, 0) - 110
                fresh = False
            reached[begun] = max(step, reached.get(begun, 0))


def test_ten_kills_of_everything_lose_at_most_a_checkpoint(lab, unbroken):  # noqa: F811
    draw = random.Random(0)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, driver(lab)], env=environment(lab, sleep=0.01),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def again():
        server.stdin.write("go\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    kills = 0
    while kills < 10:
        done, before = len(lab.lines("step")), {canonical(r["config"]) for r in lab.records()}
        child = again()
        target = done + draw.randint(1, 20)
        while len(lab.lines("step")) < target and psutil.Process(child).status() != "zombie":
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        kills += 1
        status = int(server.stdout.readline())
        assert {canonical(r["config"]) for r in lab.records()} >= before
        if status == 0:  # it had finished before
            break
    again()
    assert server.stdout.readline() == "0\n"
    server.stdin.close()
    assert server.wait() == 0
    server.stdout.close()
    assert kills == 10
    assert lab.facts() == unbroken
    check_steps(lab.log.read_text().splitlines())
    trained = [line for line in lab.lines("end") if int(line.split()[-1]) < FIT_STEPS]
    assert len(trained) == len(set(trained)) <= 4
    assert len(lab.lines("start")) <= 4 + 11


def test_kills_of_workers_lose_nothing(lab, unbroken, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TOY_SLEEP", "0.01")
    draw, report = random.Random(1), []
    pool = engine.pool(2)
    thread = threading.Thread(target=lambda: report.append(lab.run("cpu", executor=pool, every=0)))
    thread.start()
    for _ in range(3):
        before = len(lab.lines("step"))
        until(lambda before=before: len(lab.lines("step")) > before + 5 or not thread.is_alive())
        time.sleep(draw.uniform(0, 0.05))
        alive = [w.process for w in pool._all if w.process and w.process.is_alive()]
        os.kill(draw.choice(alive).pid, signal.SIGKILL)
    thread.join()
    pool.shutdown()
    assert (report[0].done, report[0].failed) == (4, [])
    assert lab.facts() == unbroken
    assert len(lab.lines("start")) <= 4 + 3
    assert len(lab.lines("end")) == 4


def test_workers_end_with_their_killed_driver_and_the_next_one_goes_on(lab, unbroken):  # noqa: F811
    process = start(lab, "pool", sleep=0.1)
    until(lambda: len(lab.lines("step")) > 12)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=300)
    assert not alive
    assert list(lab.checkpoints.glob("*.pt"))
    lab.run("cpu")
    assert lab.facts() == unbroken
    check_steps_of = [int(line.split()[-1]) for line in lab.lines("end")]
    assert max(check_steps_of) > 0  # one was resumed


@pytest.mark.parametrize("whom", ["group", "driver"])
def test_ctrl_c_keeps_what_is_finished_and_leaves_no_worker(lab, whom, tmp_path):  # noqa: F811
    words = lab.words("run", "--workers", "2", "--size", "cpu")
    process = subprocess.Popen(
        [sys.executable, "-m", "equitutor.studies", *words], env=environment(lab, sleep=0.03),
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: len(lab.lines("end")) >= 1 and lab.path.exists())
    children = psutil.Process(process.pid).children(recursive=True)
    if whom == "group":
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "the same command goes on" in told
    assert "Traceback" not in told
    _, alive = psutil.wait_procs(children, timeout=300)
    assert not alive
    before = {canonical(r["config"]) for r in lab.records()}
    assert 1 <= len(before) < 4
    report = lab.run("cpu")
    assert report.recorded == len(before)
    assert report.done == 4 - len(before)


# What must not resume, and what ages -------------------------------------------------------


def ends(lab):  # noqa: F811
    """Returns at which step the runs that were executed resumed, and forgets them."""
    found = [int(line.split()[-1]) for line in lab.lines("end")]
    lab.log.unlink(missing_ok=True)
    return found


NEVER_RESUMES = {
    "code of the study": ("toy_copy.py", "SCALE = 2.0", "SCALE = 3.0", "toy_copy"),
    "the loss": ("toy_copy.py", "functional.mse_loss", "functional.l1_loss", "toy_copy"),
    "code beside it": ("copy_helper.py", "slope * x", "slope + x", "copy_helper"),
    "the data": ("toy_copy.py", "torch.rand(64, 2)", "torch.rand(64, 2) + 1", "toy_copy"),
}
ONE = {"x": ["0.25"], "seed": ["0,1"]}


@pytest.mark.parametrize(("file", "old", "new", "module"), NEVER_RESUMES.values(),
                         ids=NEVER_RESUMES)  # fmt: skip
def test_a_change_runs_anew_and_names_the_module(own_lab, file, old, new, module):  # noqa: F811
    assert own_lab.run(only=ONE).done == 2
    ends(own_lab)
    before = own_lab.facts()
    edit(own_lab, file, old, new)
    assert set(load("toy_copy", results=own_lab.results)["stale"]) == {module}
    report = own_lab.run(only=ONE)
    assert (report.done, report.recorded) == (2, 0)
    assert ends(own_lab) == [0, 0]
    assert len(own_lab.records()) == 2  # the new ones took the place of the old
    after = own_lab.facts()
    assert all(after[k][0] != before[k][0] for k in before)
    assert set(load("toy_copy", results=own_lab.results)["stale"]) == {""}


def test_another_step_count_is_another_run(own_lab):  # noqa: F811
    own_lab.run(only=ONE)
    ends(own_lab)
    edit(own_lab, "toy_copy.py", "seed=list(range(6)), steps=60", "seed=list(range(6)), steps=61")
    assert own_lab.run(only=ONE).done == 2
    assert ends(own_lab) == [0, 0]
    assert len(own_lab.records()) == 4  # the old ones stay, out of the table
    assert load("toy_copy", results=own_lab.results)["taken"].tolist() == [61, 61]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 2.0", "SCALE = 2.0  # why"),
        ('"""A line fitted', '"""The line fitted'),
        ('"Small error"', '"A small error"'),
        ("seed=list(range(6))", "seed=list(range(7))"),
        ("    return 1\n", "    return 2\n"),
    ],
    ids=["comment", "docstring", "claim", "grid", "unused function"],
)
def test_what_changes_no_run_ages_none(own_lab, old, new):  # noqa: F811
    own_lab.run(only=ONE)
    edit(own_lab, "toy_copy.py", old, new)
    report = own_lab.run(only=ONE)
    assert (report.done, report.recorded) == (0, 2)
    assert set(load("toy_copy", results=own_lab.results)["stale"]) == {""}


def test_without_its_record_a_finished_run_is_read_from_its_checkpoint(own_lab):  # noqa: F811
    own_lab.run(only=ONE)
    before = own_lab.facts()
    own_lab.path.unlink()
    ends(own_lab)
    own_lab.run(only=ONE)
    assert ends(own_lab) == [60, 60]
    assert own_lab.facts() == before


def test_other_data_age_the_runs_that_read_them(lab, monkeypatch):  # noqa: F811
    from equitutor.data import reads

    lab.run("gpu", {"mode": ["digits,fit"]})
    assert [sorted(r["data"]) for r in lab.records()] == [["scikit-learn/digits"], [], []]
    with monkeypatch.context() as patch:
        patch.setattr(reads, "_digits_checksum", lambda: "sha256:other")
        runs = load("toy", results=lab.results)
        assert runs["stale"].tolist() == ["scikit-learn/digits", "", ""]
        report = lab.run("gpu", {"mode": ["digits,fit"]})
        assert (report.done, report.recorded) == (1, 2)
    assert lab.run("gpu", {"mode": ["digits,fit"]}).recorded == 3


def test_a_worker_with_other_code_is_refused(own_lab):  # noqa: F811
    """One that was started before an edit would make numbers with the old code."""
    own_lab.run(only={"x": ["0.25"], "seed": ["0"]})
    loaded = engine._code_here("toy_copy")
    path = own_lab.folder / "toy_copy.py"
    path.write_text(path.read_text().replace("SCALE = 2.0", "SCALE = 3.0"))
    code._parsed.cache_clear()
    report = own_lab.run(only={"x": ["0.25"], "seed": ["0"]})
    assert engine._code_here("toy_copy") == loaded
    assert "start it anew: toy_copy" in report.failed[0][1]
    assert len(own_lab.records()) == 1


# Runs that fail ----------------------------------------------------------------------------


def test_what_fails_is_reported_and_the_others_go_on(lab, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(workers, "LOST", 2)
    assert cli.main(lab.words("run", "--size", "gpu", "--workers", "2")) == 1
    told = capsys.readouterr()
    assert "3 runs done, 0 had a record, 7 failed" in told.out
    assert [r["config"]["mode"] for r in lab.records()] == ["digits", "fit", "fit"] or len(
        lab.records()
    ) == 3
    reasons = {
        "raise": "KeyError: 'no luck with 1.0'",
        "odd error": "Unpicklable: a",
        "die": "its worker was lost",
        "nan": "finite metrics, got {'error': nan}",
        "missing": "['error', 'taken'], got ['error']",
        "extra": "got ['error', 'more', 'taken']",
        "text": "must return numbers, got {'error': 'small'",
    }
    ends_of = [line for line in told.err.splitlines() if line.startswith("failed: {'mode'")]
    assert len(ends_of) == 7
    for mode, reason in reasons.items():
        assert any(f"'mode': '{mode}'" in line and reason in line for line in ends_of)
    assert "toy.py" in told.err  # where it was raised
    assert len([line for line in lab.lines("start") if line.startswith("die")]) == 2


def test_a_pool_of_others_that_breaks_ends_in_a_report(lab):  # noqa: F811
    import multiprocessing

    spawn = multiprocessing.get_context("spawn")
    make = partial(ProcessPoolExecutor, 1, spawn)
    report = lab.run("gpu", {"mode": ["die,fit"]}, make)
    assert report.failed
    assert all("its worker was lost" in reason for _, reason in report.failed)
    assert report.done + len(report.failed) == 3


# Asking for it -----------------------------------------------------------------------------

REFUSALS = [
    (["run", "nowhere"], "study must be one of arteq"),
    (["run", ""], "study must be one of"),
    (["run", "../toy"], "study must be one of"),
    (["run", "no.such.module"], "study must be one of"),
    (["run", "json"], "a module that defines STUDY, got 'json'"),
    (["show", "nowhere"], "study must be one of"),
    (["run", "toy", "--size", "paper"], "cannot be run here: a year of a planet"),
    (["run", "toy", "--only", "seed"], "--only must be KEY=VALUE, got 'seed'"),
    (["run", "toy", "--only", "seed="], "--only must be KEY=VALUE"),
    (["run", "toy", "--only", "seed=9"], "only seed='9' fits no run, seed has ['0', '1'"),
    (["run", "toy", "--only", "sed=1"], "only sed=... fits no run of toy"),
    (["run", "toy", "--workers", "0"], "--workers must be at least 1, got 0"),
    (["run", "toy", "--scheduler", "tcp://127.0.0.1:1"], "127.0.0.1:1"),
    (["run", "toy", "--scheduler", "no address"], "no address"),
    (["run", "toy", "--results", "{file}"], "file"),
    (["run", "toy", "--checkpoints", "{file}/x"], "file"),
]


@pytest.mark.parametrize(("words", "said"), REFUSALS, ids=[" ".join(w) for w, _ in REFUSALS])
def test_mistakes_get_a_sentence_and_two(lab, capsys, words, said):  # noqa: F811
    import dask
    import distributed  # noqa: F401 - its settings are there before one is changed

    file = lab.folder / "file"
    file.touch()
    words = [w.format(file=file) for w in words]
    words += [] if "--results" in words else ["--results", str(lab.results)]
    if words[0] == "run" and "--checkpoints" not in words:
        words += ["--checkpoints", str(lab.checkpoints)]
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert cli.main(words) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.startswith("studies: ")
    assert told.err.count("\n") == 1
    assert not lab.lines("start")


@pytest.mark.parametrize(
    "words", [[], ["typo"], ["run"], ["run", "toy", "--size", "full"],
              ["run", "toy", "--workers", "2", "--scheduler", "tcp://x:1"]],
)  # fmt: skip
def test_argparse_refuses_with_two(capsys, words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_list_and_show(lab, reference, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(cli, "STUDIES", {"toy": "toy"})
    monkeypatch.setattr(records, "place", lambda name, folder=None: reference.path)
    assert cli.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "smoke  24 runs, 24 recorded\n" in listed
    assert "cpu    4 runs, 0 recorded\n" in listed
    assert "paper  a year of a planet" in listed
    assert cli.main(["show", "toy"]) == 0
    shown = capsys.readouterr().out
    assert "size smoke: 24 runs" in shown
    assert "HOLDS (" in shown
    assert "HOLDS IN PART (60.0 ± 0.0): All steps\n    b" in shown
    for x in ("0.25", "0.5", "1.0", "2.0"):
        assert x in shown
    monkeypatch.setattr(records, "stale", lambda record, code: ["toy_helper"])
    assert cli.main(["list"]) == 0
    assert "24 recorded, 24 of them stale" in capsys.readouterr().out
    assert cli.main(["show", "toy"]) == 0
    assert "stale: 24 runs, changed since: toy_helper" in capsys.readouterr().out


def test_only_some(lab):  # noqa: F811
    lab.run(only={"x": ["0.25", "5e-1"], "seed": ["0,3"]})
    assert {(r["config"]["x"], r["config"]["seed"]) for r in lab.records()} == {
        (0.25, 0), (0.25, 3), (0.5, 0), (0.5, 3)
    }  # fmt: skip


def test_a_value_may_hold_a_comma():
    study, _ = find("polyphase-vit")
    found = study.configs("smoke", {"network": ["plain,anchored, filtered,Twins, plain"]})
    assert {c["network"] for c in found} == {"plain", "anchored, filtered", "Twins, plain"}


def test_the_polyphase_study_runs(lab, capsys):  # noqa: F811
    lab.path = lab.results / "polyphase-vit.jsonl"
    lab.study = "polyphase-vit"
    lab.run(only={"network": ["anchored"]})
    (record,) = lab.records()
    assert record["metrics"]["consistency"] == 100
    assert list(record["data"]) == ["scikit-learn/digits"]
    assert cli.main(lab.words("show")) == 0
    assert "NOT TESTED" in capsys.readouterr().out


@needs_data("bsds500_subset")
def test_the_study_of_a_trained_network_runs(lab):  # noqa: F811
    lab.path = lab.results / "pretrained-cnn.jsonl"
    lab.study = "pretrained-cnn"
    lab.run(only={"network": ["averaged"], "mended": ["distilled"]})
    (record,) = lab.records()
    assert record["metrics"]["consistency"] == 100
    assert record["metrics"]["logit_change"] < 1e-4
    assert any(name.startswith("bsds500_subset/") for name in record["data"])


@needs_data("mocap_cmu")
@needs_data("mocap_deepmimic")
def test_the_study_of_bodies_runs(lab, capsys):  # noqa: F811
    lab.path = lab.results / "arteq.jsonl"
    lab.study = "arteq"
    lab.run(only={"network": ["ArtEq + turns"], "body": ["person"]})
    (record,) = lab.records()
    assert record["metrics"]["deviation_group"] < 0.1
    assert {name.split("/")[0] for name in record["data"]} == {"mocap_cmu", "mocap_deepmimic"}
    assert cli.main(lab.words("show")) == 0
    assert "NOT TESTED" in capsys.readouterr().out
