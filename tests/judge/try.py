import sys, json, os
sys.path.insert(0, '/work/wt-judge/tests')
import judge.server as sv
from importlib import import_module
for n in sv.USED: import_module(n)
import time
from judge.bugs import BUGS
from judge.bug import Stale
which=sys.argv[1:] or ['']
bats=sorted({b.battery for b in BUGS})
sel=[b for b in bats if any(w in b for w in which)]
for b in sel:
    t=time.time(); v=sv.ask(None,b); 
    print('OK ' if v['verdict']=='missed' else 'BAD', b, round(time.time()-t,2), '' if v['verdict']=='missed' else v['reason'])
n=0
for i,b in enumerate(BUGS):
    if not any(w in b.battery or w in b.name for w in which): continue
    try: b.planted()
    except Stale as e: print('STALE', b.name, e); continue
    v=sv.ask(i,b.battery); n+=v['verdict']=='caught'
    print(v['verdict'] if v['verdict']!='caught' else 'c', '|', b.name, '|', v['reason'][:170])
print(n)
