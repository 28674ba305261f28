"""How fast the rules are on this machine, beside other libraries and beside the machine's own matrix product.

Times on a shared machine mean little by themselves, so everything that is compared runs in one process, in turn, round
after round, and is reported as a ratio: to the fastest other library that is installed, and to the rate at which the
same process multiplies float32 matrices. `dualform bench` runs it; other libraries are optional and none is needed.
"""

from dualform.bench.report import Report as Report
from dualform.bench.report import Row as Row
from dualform.bench.run import bench as bench
from dualform.bench.subjects import Subject as Subject
