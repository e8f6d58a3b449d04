"""`bnml-doctor check`: everything the bot needs, looked at side by side, one line each with its fix."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.domain.market import iso
from bn_ml.ports import Clock
from bn_ml.redaction import redact_handlers
from scripts import cli
from scripts.doctor_checks_python import checks as checks_of_python
from scripts.doctor_findings import Check, Diagnosis, Status, bad, diagnosed

SCHEMA = "bnml.doctor/1"
SUBJECTS = ("config", "book", "machine", "venue", "models", "ports", "alerts", "backups")
"""What is looked at, in the order it is told; each has a module of its own that may need packages others do not."""
_INSTALL = "install the packages: pip install -r requirements.txt"


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; 1 when anything has to be mended, warnings alone are 0."""
    logging.basicConfig(level=arguments.log_level or "CRITICAL", format="%(levelname)s %(message)s")
    clock = SystemClock()
    findings = examined(arguments, Path.cwd(), clock)
    failed = any(item.status is Status.FAIL for item in findings)
    code = cli.FAILED if failed else cli.DONE
    document = {
        "schema": SCHEMA,
        "generated_at": iso(clock.now()),
        "ok": not failed,
        "exit_code": code,
        "data": {"checks": [as_dict(item) for item in findings]},
        "warnings": [item.line() for item in findings if item.status is Status.WARN],
    }
    cli.show(document, as_json=arguments.json, text=as_text(findings))
    return code


def examined(arguments: argparse.Namespace, folder: Path, clock: Clock) -> tuple[Diagnosis, ...]:
    """Give every finding, without secrets, in the order of the checks."""
    checks = checks_of_python()
    try:
        from scripts.doctor_situation import situation_of

        situation = situation_of(arguments, folder, clock)
    except ImportError as error:
        # Without the package that reads settings nothing else can be asked; the packages themselves can.
        checks.append(_not_looked_at("configuration", error))
        return diagnosed(checks, clock)
    for subject in SUBJECTS:
        try:
            checks += import_module(f"scripts.doctor_checks_{subject}").checks(situation)
        except ImportError as error:
            checks.append(_not_looked_at(subject, error))
    redactor = situation.redactor()
    redact_handlers(logging.getLogger(), redactor)
    clean = redactor.clean
    found = diagnosed(checks, clock)
    return tuple(Diagnosis(item.name, item.status, clean(item.found), clean(item.fix)) for item in found)


def as_text(findings: Sequence[Diagnosis]) -> str:
    """Give one line per finding, then a count and once more what failed."""
    counts = Counter(item.status for item in findings)
    lines = [item.line() for item in findings]
    lines.append(", ".join(f"{counts[status]} {status.value}" for status in Status))
    failures = [item.line() for item in findings if item.status is Status.FAIL]
    return "\n".join([*lines, *(["to mend:", *failures] if failures else [])])


def as_dict(finding: Diagnosis) -> dict[str, str]:
    """Give the fields of a finding."""
    return {"name": finding.name, "status": finding.status.value, "found": finding.found, "fix": finding.fix}


def _not_looked_at(subject: str, error: ImportError) -> Check:
    name = error.name or str(error)
    return Check(subject, lambda: (bad(subject, f"not looked at, package {name} is missing or broken", _INSTALL),))
