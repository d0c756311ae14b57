"""`python -m score_ray` is the command line."""

from score_ray.cli.main import main

main()
