"""`python -m pairmine` is `pairmine`."""

from pairmine.cli.main import main

main()
