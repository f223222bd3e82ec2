from toughcall.review import main

main()
