"""The script that `streamlit run` (and so `toughcall review`) serves."""

from toughcall.review import main

main()
