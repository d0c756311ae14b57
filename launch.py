"""Run the command line from a checkout: `python launch.py train CONFIG`."""

import os
import signal

if __name__ == "__main__":
    # As score_ray.cli.main does, but before it is imported, too.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from score_ray.cli.main import main

    main()
