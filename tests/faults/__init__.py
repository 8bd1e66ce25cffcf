"""The suite of faults: the whole program over real peers, while one of them does what it does on a bad day.

A run is one **story** (``story.py``: a pool, claims, a crash, the end of everything) on one **stage** (``stage.py``: a
namespace, a database, a state directory, operators as processes, and a proxy in front of each peer), while one
**fault** strikes. Afterwards ``checks.py`` looks at all that must hold whatever happened. ``run.py`` is all that.

How a fault is written: derive from ``fault.Fault``, say its ``name``, ``sentence`` (for the table) and ``peer``, and
implement ``strike``; then name an instance of it in ``catalogue.py``.

- ``prepare(plan)`` changes what the stage is made of, before anything is started: more operators, other settings,
  another template.
- ``strike(stage, dice)`` begins the trouble and returns at once. It is called right before one step of the story;
  ``dice`` is seeded, and the only source of chance. Trouble at the API server is a ``Rule`` (``rules.py``): which
  requests, what happens to them (``effects.py``), how often. Trouble at Postgres is done to ``stage.line``; code for
  the loop of the proxies goes through ``stage.loop``. Operators are ``stage.operators``: each a ``Command`` that can be
  killed, frozen and started; one that was killed is started again by itself, as Kubernetes would (``stage.keeps_up``).
- ``heal(stage)`` ends it ``lasts`` seconds later, or as soon as ``lingers`` does not want it to go on. It must leave
  nothing of the trouble behind. Without one, the rules are removed.
- ``struck(stage)`` says whether it happened at all; a run in which nothing happened fails, since it shows nothing.

Whatever waits in a story or a fault waits with ``stage.until``: it starts killed operators again, and heals in time.
"""
