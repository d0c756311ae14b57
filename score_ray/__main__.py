"""Run the command line as `python -m score_ray`."""

from score_ray.cli.main import main

if __name__ == "__main__":
    main()
