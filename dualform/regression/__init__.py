"""Chapter 9. Linear self-attention that learns regression in context."""

from dualform.regression.lsa import lsa as lsa
from dualform.regression.lsa import lsa_attention as lsa_attention
from dualform.regression.lsa import lsa_layers as lsa_layers
from dualform.regression.lsa import prediction as prediction
from dualform.regression.lsa import prompt as prompt
from dualform.regression.lsa import reduced as reduced
from dualform.regression.tasks import FUNCTIONS as FUNCTIONS
from dualform.regression.tasks import Gaussian as Gaussian
from dualform.regression.tasks import Prompts as Prompts
from dualform.regression.tasks import RandomDiagonal as RandomDiagonal
from dualform.regression.tasks import Task as Task
from dualform.regression.tasks import Uniform as Uniform
from dualform.regression.tasks import prompts as prompts
