"""Which programs are seen to keep nothing between runs, and which are not."""

import pytest

from data.tiny.corpus import TinyCorpusConfig, tiny_split
from sandbox.child.stateless import keeps_nothing

SEEN = {
    "empty": "",
    "read, compute, print": "a, b = map(int, input().split())\nprint(a + b)",
    "lines": "import sys\nfor line in sys.stdin:\n    print(line.strip()[::-1])",
    "fast reading": "import sys\ninput = sys.stdin.readline\nn = int(input())\n"
    "print(sum(map(int, input().split())))",
    "bytes": "import sys\ndata = sys.stdin.buffer.read().split()\nsys.stdout.buffer.write(data[0])",
    "from sys": "from sys import stdin, stdout\nstdout.write(stdin.readline())",
    "main": "def main():\n    n = int(input())\n    print(n)\nif __name__ == '__main__':\n    main()",
    "sorted by a function": "a = [(1, 2), (0, 3)]\na.sort(key=lambda p: -p[1])\n"
    "print(max(a, key=len), sorted(a))",
    "text": "print('{:>5} {}'.format(1, 2), f'{3:.2f}', '%d' % 4, ' '.join(str(i) for i in range(3)))",
    "dictionary": "d = {}\nfor c in input():\n    d[c] = d.get(c, 0) + 1\n"
    "print(sorted(d.items()), max(d, key=d.get))",
    "set": "print(len(set(input().split())))",
    "queue": "from collections import deque\nq = deque([1])\nwhile q:\n    x = q.popleft()\n"
    "    if x < 9: q.append(x * 2)",
    "heap": "import heapq\nh = []\nheapq.heappush(h, (1, 'a'))\nprint(heapq.heappop(h))",
    "recursion": "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10**6)\n"
    "@lru_cache(maxsize=None)\n"
    "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nprint(f(int(input())))",
    "end of input": "while True:\n    try:\n        print(input())\n    except EOFError:\n        break",
    "itertools": "from itertools import permutations, accumulate\n"
    "print(max(map(sum, permutations([1, 2]))))\n"
    "for a in accumulate([1, 2]): print(a)",
    "nested": "def f(n):\n    seen = [False] * n\n    def visit(i):\n        seen[i] = True\n    visit(0)\n"
    "    return seen\nprint(f(3))",
    "comprehensions": "print([i * j for i in range(3) for j in range(i) if i % 2], {i: i for i in [1]})",
    "numbers": "import math\nprint(math.sqrt(2) / 3, math.pi, 2 ** 10 % 7, round(1.5), math.inf)",
    "annotations": "def f(n: int, a: list[int] = None) -> int:\n    return n\nx: int = f(1)",
    "reduce": "from functools import reduce\nimport operator\n"
    "print(reduce(lambda a, b: a * b, [1, 2]), reduce(operator.add, [1]))",
    "cmp_to_key": "from functools import cmp_to_key\nprint(sorted('ab', key=cmp_to_key(lambda a, b: 1)))",
    "unpacking": "print(*map(str, [1, 2]), sep=',')\nn, *rest = map(int, '1 2 3'.split())\n"
    "print(*zip(*[[1], [2]]))",
}


@pytest.mark.parametrize("name", SEEN)
def test_a_contest_program_is_seen_to_keep_nothing(name: str) -> None:
    assert keeps_nothing(SEEN[name])


def test_solutions_of_the_embedded_corpus_are() -> None:
    problems = tiny_split("heldout", TinyCorpusConfig(heldout=100, validation=0, rl=0, sft=0))
    assert all(keeps_nothing(solution) for problem in problems for solution in problem.solutions)


LASTS = {  # what is changed outlives the run
    "attribute": "import math\nmath.i = 1",
    "attribute of an attribute": "import sys\nsys.stdout.encoding.x = 1",
    "attribute in a loop": "import math\nfor math.i in [1]: pass",
    "attribute, added to": "import sys\nsys.maxsize += 1",
    "attribute deleted": "import math\ndel math.pi",
    "attribute by with": "import math\nwith x as math.i: pass",
    "setattr": "import math\nsetattr(math, 'i', 1)",
    "getattr": "import math\ni = getattr(math, 'i', 0)",
    "vars": "import math\nvars(math)['i'] = 1",
    "__dict__": "import math\nmath.__dict__['i'] = 1",
    "globals": "globals()['x'] = 1",
    "exec": "exec('import math; math.i = 1')",
    "__import__": "__import__('math').i = 1",
    "class": "class A:\n    pass",
    "class attribute": "from collections import Counter\nCounter.seen = 1",
    "subclass": "from collections import Counter\nclass C(Counter):\n    pass\n"
    "print(len(Counter.__subclasses__()))",
    "sys.argv": "import sys\nsys.argv.append('x')",
    "sys.path": "import sys\nsys.path.append('x')",
    "sys.modules": "import sys\nsys.modules['x'] = 1",
    "from sys": "from sys import modules\nmodules['x'] = 1",
    "environment": "import os\nos.environ['x'] = '1'",
    "random state": "import random\nrandom.seed(1)",
    "warnings": "import warnings\nwarnings.simplefilter('error')",
    "re": "import re\nre.compile('a')",
    "decimal": "from decimal import getcontext\ngetcontext().prec = 3",
    "wraps": "from functools import wraps\nfrom collections import Counter\nwraps(len)(Counter)",
    "star": "from sys import *",
    "a module in a variable": "import math\nm = math\nm.i = 1",
    "a module as an argument": "import math\ndef f(m):\n    m.i = 1\nf(math)",
    "built-in functions by name": "__builtins__.x = 1",
    "a name for them": "def f(__builtins__):\n    pass\n__builtins__",
    "an import by that name": "import math as __builtins__",
    "attribute of a function": "def f():\n    f.n += 1\nf.n = 0",
    "method called on a module": "import sys\nsys.modules.update(x=1)",
    "a method of a type": "type.__setattr__(int, 'x', 1)",
    "object": "object.__subclasses__()",
    "import of a part": "import os.path",
    "what format reads": "print('{0.__class__}'.format(1))",
    "an exit handler": "import atexit\natexit.register(print, 1)",
    "codecs": "import codecs\ncodecs.register(print)",
    "gc": "import gc\ngc.callbacks.append(print)",
    "time": "import time\nprint(time.process_time())",
}
TELLS = {  # by an address, memory or the choices of the interpreter it can be told how used a child is
    "id": "print(id(1))",
    "hash": "print(hash(print))",
    "text of a function": "def f(): pass\nprint(f)",
    "text of a lambda": "print(lambda: 0)",
    "held lambda": "a = [lambda: 0]\nprint(a)",
    "text of an iterator": "print(map(int, []))",
    "held iterator": "x = map(int, [])\nprint(x)",
    "generator": "def f():\n    yield 1\nprint(f())",
    "generator expression": "print(str(i for i in []))",
    "iter": "print(iter([]))",
    "bound method": "x = [].append\nprint(x)",
    "file method": "import sys\nprint(sys.stdin.readline)",
    "a function returned": "def f():\n    return f\nprint(f())",
    "a function passed on": "def f(g):\n    print(g)\nf(f)",
    "factory": "from collections import defaultdict\nprint(defaultdict(lambda: 0))",
    "partial": "from functools import partial\nprint(partial(print))",
    "a keyword called key": "def f(): pass\nprint(dict(key=f))",
    "a field called key": "def f(): pass\nprint('{key}'.format(key=f))",
    "an update by key": "def f(): pass\nd = {}\nd.update(key=f)\nprint(d)",
    "the greatest of iterators": "print(max((i for i in []), 1, key=lambda x: 0))",
    "the default of next": "print(next((i for i in []), map(int, [])))",
    "what repeat gives": "from itertools import repeat\nprint(list(repeat(map(int, []), 1)))",
    "map to iterators": "print(list(map(zip, [[1]])))",
    "groups": "from itertools import groupby\nprint(list(groupby([1])))",
    "a method in a field": "print('{0.append}'.format([]))",
    "a method in a field of a field": "print('{:{0.append}}'.format([]))",
    "a held format": "t = '{0.append}'\nprint(t.format([]))",
    "format as a function": "print(*map('{0.append}'.format, [[]]))",
    "format of the type": "print(str.format('{0.append}', []))",
    "a set of functions": "def f(): pass\nfor g in {f, print}: print(g is print)",
    "NaN in a set": "print(list({float('nan'), 1, 2, 3}))",
    "NaN by division": "x = 1e308 * 10\nprint({x - x, 1})",
    "NaN in the difference of views": "x = float(input())\nprint({x: 1}.keys() - {1: 1}.keys())",
    "NaN by a power": "n = int(input())\nprint({10 ** n, 1})",
    "identity": "a = input()\nb = input()\nprint(a is b)",
    "any exception": "try:\n    x = bytearray(1 << 28)\nexcept:\n    print('used')",
    "Exception": "try:\n    x = bytearray(1 << 28)\nexcept Exception:\n    print('used')",
    "MemoryError": "try:\n    x = bytearray(1 << 28)\nexcept MemoryError:\n    print('used')",
    "finally": "try:\n    x = bytearray(1 << 28)\nfinally:\n    print('used')\n    exit()",
    "an exception in a name": "try:\n    [].remove(1)\nexcept ValueError as e:\n    print(e.__traceback__)",
    "a list that prints": "def list(x):\n    return 1\nx = list\nprint(x)",
    "another str in the place of list": "list = str\nprint(list(map(int, [])))",
    "a name of two kinds": "if 0:\n    def f(): pass\nf = 1\nprint(f)",
    "a name of two members": "if 0:\n    from math import gcd as f\nfrom itertools import chain as f\n"
    "print(f([]))",
    "a parameter that hides a function": "def g(): pass\ndef f(g):\n    print(g)\nf(1)",
    "getattr bound elsewhere": "if 0: getattr = 1\nprint(getattr([], 'append'))",
    "a star that passes": "def f(*a):\n    print(a)\nf(*[len, f])",
    "resource": "import resource\nprint(resource.getrusage(0))",
}


@pytest.mark.parametrize("source", [*LASTS.values(), *TELLS.values()], ids=[*LASTS, *TELLS])
def test_what_could_keep_or_tell_something_is_refused(source: str) -> None:
    compile(source, "program.py", "exec")
    assert not keeps_nothing(source)


@pytest.mark.parametrize("source", ["x = " + "-" * 5000 + "1", "def f[T](x): return T"])
def test_what_is_too_deep_or_too_new_is_refused(source: str) -> None:
    assert not keeps_nothing(source)
