"""The report of campaigns: results in, one HTML file out. `e3 report` makes it.

::

    study       the figures of one campaign, in memory of bounded size
    statistics  medians, intervals, and which differences are marked
    model       where the time of a session goes
    facts       what is stated of overlays, with sources; what E3's own code tells of their use
    criteria    overlay x criterion: each value with its unit and where it comes from
    decisions   which overlay for which situation
    charts      specifications of the charts (Vega-Lite)
    page        the HTML file; templates/ has its parts
    comparison  two campaigns, cell by cell

Results are foreign: whatever is in them enters the page as text or as a number. The same results
and the same E3 make the same page, byte for byte.
"""
