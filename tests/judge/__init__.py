"""Who judges the judge: bugs planted in what proves, bounds, measures and times, and batteries that catch them.

A false proof would pass unseen if the code that weighs proofs were wrong. So that code is made wrong here, one line at
a time, in a copy that nobody else imports, and a battery of known answers must notice.

    bug         a planted bug: a file, a text that occurs once in it, what stands there instead, who catches it
    server      imports JAX once and forks a process for each bug; the child imports the wrong module and runs a battery
    bugs/       the lists
    arithmetic, sizes, proofs, roundings, verdicts, benches, strategies     the batteries
"""
