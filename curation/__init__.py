"""The funnel: policy (which rules), plan (what is owed), Ray execution, verdicts, the command line.

Knows stages and catalogs; measures nothing itself. How a clip flows:
policy.py -> resolve.py -> plan.py -> run.py -> worker.py -> verdicts.py.
"""
