"""The command line as a program: runs a command, and prints its errors as one line.

At the top it imports only what is quick, so that Ctrl-C is taken care of before anything else.
"""

import os
import signal
import sys


def main() -> None:
    """Run a command and exit; print an error as one line, without a traceback."""
    # Until there is something to clean up, Ctrl-C just ends the process. A shell starts commands
    # in the background with Ctrl-C ignored, which is to stay so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from score_ray.cli import interruption

    interruption.watch()
    try:
        from score_ray.cli.caches import use_writable_caches
        from score_ray.cli.commands import app

        use_writable_caches()
        app()
    except SystemExit:
        if interruption.is_interrupted():
            interruption.kill_everything()
        raise
    except BaseException as error:
        # A library may have turned the interruption into an error of its own.
        if isinstance(error, KeyboardInterrupt) or interruption.is_interrupted():
            interruption.kill_everything()
        from score_ray.cli.failures import explain

        sys.exit(explain(error))
