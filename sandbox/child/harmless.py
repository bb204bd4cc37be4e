"""What a program that keeps nothing may call: functions of their arguments, and nothing that remembers.

All of these take and give plain data: numbers, texts, None, and tuples, lists, dicts, sets, deques of such.
None of them gives away an address (`stateless` says why that matters), so what only iterates is kept apart
from what gives data. What is not listed here cannot be used by a program that shares its child.
"""

from __future__ import annotations

PLAIN = frozenset(
    "abs all any ascii bin bool bytearray bytes chr complex dict divmod exit float format frozenset hex "
    "input int isinstance len list max min next oct ord pow print quit range repr round set sorted str sum "
    "tuple".split()
)
# Of these the first argument may be an iterator: they use it up.
TAKE_ITERATOR = frozenset(
    "all any bytearray bytes dict frozenset list max min next set sorted sum tuple".split()
)
GIVE_ITERATOR = frozenset("enumerate filter map reversed zip".split())
TAKE_KEY = frozenset(
    "bisect bisect_left bisect_right insort insort_left insort_right max min nlargest nsmallest sort "
    "sorted".split()
)
TYPES = frozenset("bool bytes bytearray complex dict float frozenset int list set str tuple".split())

METHODS = frozenset(
    # str and bytes
    "capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii isdecimal "
    "isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip "
    "maketrans partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split "
    "splitlines startswith strip swapcase title translate upper zfill "
    # list and deque
    "append appendleft clear copy extend extendleft insert pop popleft remove reverse rotate sort "
    # dict and Counter
    "fromkeys get items keys most_common popitem setdefault subtract total update values "
    # set
    "add difference difference_update discard intersection intersection_update isdisjoint issubset "
    "issuperset symmetric_difference symmetric_difference_update union "
    # numbers
    "bit_count bit_length from_bytes is_integer to_bytes".split()
)
METHODS_TAKE_ITERATOR = frozenset(
    "difference difference_update extend extendleft fromkeys intersection intersection_update join "
    "symmetric_difference symmetric_difference_update union update".split()
)
VIEWS = frozenset({"items", "keys"})  # they can be subtracted, which makes sets

# Of modules: functions that give data, with those that use an iterator up; functions that give iterators;
# constants. Module `sys` has files besides.
MODULES_PLAIN = {
    "math": frozenset(
        "acos acosh asin asinh atan atan2 atanh ceil comb copysign cos cosh degrees dist erf erfc exp expm1 "
        "fabs factorial floor fmod frexp fsum gamma gcd hypot isclose isfinite isinf isnan isqrt lcm "
        "ldexp lgamma log log10 log1p log2 modf perm pow prod radians remainder sin sinh sqrt tan tanh "
        "trunc".split()
    ),
    "sys": frozenset({"exit", "setrecursionlimit"}),
    "collections": frozenset({"Counter", "OrderedDict", "deque"}),
    "heapq": frozenset("heapify heappop heappush heappushpop heapreplace nlargest nsmallest".split()),
    "bisect": frozenset("bisect bisect_left bisect_right insort insort_left insort_right".split()),
    "operator": frozenset("add and_ eq floordiv ge gt le lt mod mul ne neg or_ sub xor".split()),
    "copy": frozenset({"copy", "deepcopy"}),
}
MODULES_TAKE_ITERATOR = {"math": {"fsum", "prod"}, "collections": MODULES_PLAIN["collections"]}
MODULES_GIVE_ITERATOR = {
    "itertools": frozenset(
        "accumulate chain combinations combinations_with_replacement count cycle islice pairwise "
        "permutations product repeat zip_longest".split()
    ),
}
CONSTANTS = {
    "math": frozenset({"e", "inf", "nan", "pi", "tau"}),
    "sys": frozenset({"maxsize"}),
    "string": frozenset(
        "ascii_letters ascii_lowercase ascii_uppercase digits punctuation whitespace".split()
    ),
}
MODULES = frozenset({*MODULES_PLAIN, *MODULES_GIVE_ITERATOR, *CONSTANTS, "functools"})
INTEGER_MATHS = frozenset("ceil comb factorial floor gcd isqrt lcm perm prod trunc".split())  # of integers

# Not MemoryError, which a used child may meet a little earlier, and so nothing that it is a kind of.
EXCEPTIONS = frozenset(
    "ArithmeticError AssertionError EOFError IndexError KeyError LookupError OverflowError StopIteration "
    "SystemExit TypeError UnicodeError ValueError ZeroDivisionError".split()
)
READ = frozenset({"read", "readline", "readlines"})
WRITE = frozenset({"flush", "write", "writelines"})
