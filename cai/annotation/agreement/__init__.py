"""How far people agree with each other and with the judge, and which way each of them leans."""

from cai.annotation.agreement.result import Agreement, AgreementRow, Leaning
from cai.annotation.agreement.run import measure_agreement

__all__ = ["Agreement", "AgreementRow", "Leaning", "measure_agreement"]
