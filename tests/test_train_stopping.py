"""A training that is asked to stop by signals, alone or with all processes of its group, and what it leaves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cai.train.callbacks import Interrupt
from tests.disturbing import wait_until
from tests.training import command, make_settings

ON_A_GPU = """
import sys, time
from cai.cli.main import main
from cai.train import callbacks, plan
from cai.train.machine import Machine
plan.find_machine = lambda _device: Machine("cuda", "a GPU", 8 << 30, 1, False, 1, False)
asked = callbacks.StopWhenAsked._anybody
callbacks.StopWhenAsked._anybody = lambda self: time.sleep(0.3) or asked(self)
sys.argv[0] = "cai"
main()
"""
"""A whole training as it is settled on a GPU: torch puts it on a processor where it finds no other device.

Its steps are as long as a large model's, so that the end of another process is noticed in one.
"""


@pytest.mark.slow
def test_a_group_that_is_told_to_end_leaves_a_checkpoint_where_a_gpu_is_trained_on(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, max_steps=5000, test_share=0.0, evaluations=1)
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_GPU, *command(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        metrics = settings.out / "metrics.jsonl"
        wait_until(process, lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 2)
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert list((settings.out / "checkpoints").glob("checkpoint-*"))


def test_a_second_ctrl_c_stops_at_once_and_a_second_request_to_end_does_not() -> None:
    interrupt = Interrupt()
    with interrupt.listening():
        assert not interrupt.asked
        for _ in range(3):  # as of a launcher that passes on what a whole group was sent
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.asked
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_who_heard_of_another_process_that_it_was_asked_hears_its_own_request_as_the_first() -> None:
    interrupt = Interrupt()
    with interrupt.listening():
        interrupt.asked = True
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupt.asked
