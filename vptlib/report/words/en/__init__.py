"""English sentences for what judgement found.

A function that is marked `@says` is the sentence for the code of its name (`vptlib.statement.Statement`). Its
parameters are the values of that statement. `numbers` writes the figures.
"""

from vptlib.report.words.en.answers import *
from vptlib.report.words.en.audit import *
from vptlib.report.words.en.base import *
from vptlib.report.words.en.checklist import *
from vptlib.report.words.en.choices import *
from vptlib.report.words.en.curves import *
from vptlib.report.words.en.data_check import *
from vptlib.report.words.en.decision import *
from vptlib.report.words.en.gates import *
from vptlib.report.words.en.input_size import *
from vptlib.report.words.en.mistakes import *
from vptlib.report.words.en.money import *
from vptlib.report.words.en.numbers import *
from vptlib.report.words.en.plan import *
from vptlib.report.words.en.protocol import *
from vptlib.report.words.en.quality import *
from vptlib.report.words.en.reading import *
from vptlib.report.words.en.recommendations import *
from vptlib.report.words.en.risks import *
from vptlib.report.words.en.watching import *
