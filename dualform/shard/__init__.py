from dualform.shard.sequence import run as run
from dualform.shard.sequence import simulate as simulate
