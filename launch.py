"""Run the command line from a checkout: `python launch.py train CONFIG`."""

from score_ray.cli.main import main

if __name__ == "__main__":
    main()
