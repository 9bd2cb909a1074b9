"""Threads that all use multiprom for the first time at once.

One of them imports its modules; the others must wait for that, not find half a module.
"""

from support.interpreters import run


def test_first_use_in_many_threads() -> None:
    printed = run("""
        import sys, threading, time
        sys.setswitchinterval(1e-5)
        import multiprom
        from prometheus_client import CollectorRegistry

        failures = []

        def use(number):
            time.sleep(number * 0.0005)
            try:
                if number % 4 == 0:
                    multiprom.install()
                assert multiprom.generate_latest(CollectorRegistry()) == b""
            except BaseException as error:
                failures.append(repr(error))

        threads = [threading.Thread(target=use, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(len(threads), failures)
    """)
    assert printed.strip() == "40 []"
