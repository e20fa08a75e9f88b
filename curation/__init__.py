"""This package is the funnel: a policy's rules and what they decide, runs on Ray, people in the loop, and reports.

It knows stages and catalogs, and measures nothing itself. running/ finds what clips are owed and has it measured;
deciding/ says which clips are kept; annotation/, report/ and exports/ are for the people who use them.
"""
