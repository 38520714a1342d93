"""Japanese sentences for what judgement found.

A function that is marked `@says` is the sentence for the code of its name (`vptlib.statement.Statement`). Its
parameters are those of the English one of the same name. `numbers` writes the figures.
"""

from vptlib.report.words.ja.answers import *
from vptlib.report.words.ja.audit import *
from vptlib.report.words.ja.base import *
from vptlib.report.words.ja.checklist import *
from vptlib.report.words.ja.choices import *
from vptlib.report.words.ja.curves import *
from vptlib.report.words.ja.data_check import *
from vptlib.report.words.ja.decision import *
from vptlib.report.words.ja.gates import *
from vptlib.report.words.ja.input_size import *
from vptlib.report.words.ja.mistakes import *
from vptlib.report.words.ja.money import *
from vptlib.report.words.ja.numbers import *
from vptlib.report.words.ja.plan import *
from vptlib.report.words.ja.protocol import *
from vptlib.report.words.ja.quality import *
from vptlib.report.words.ja.reading import *
from vptlib.report.words.ja.recommendations import *
from vptlib.report.words.ja.risks import *
from vptlib.report.words.ja.watching import *
