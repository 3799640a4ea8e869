"""Relations that the train split alone has and that are hardly more than a name: what somebody did to the subject, or
what stands under a heading. They are told in the frames that serve every relation, beside a few of their own.

A reader must tell a tuner from a tester and a wedding from a wages day. It learns that from many names that lie near
each other, where the wordings matter less.
"""

from __future__ import annotations

from fastslow.worlds.wordings import Relation, w

# kind -> what a person or a firm did: name/past participle
_DEEDS: dict[tuple[str, str], str] = {
    ("product", "person"): "assembler/assembled restorer/restored polisher/polished packer/packed carver/carved "
    "photographer/photographed "
    "smuggler/smuggled inspector/inspected tuner/tuned decorator/decorated appraiser/appraised auctioneer/auctioned "
    "borrower/borrowed copyist/copied breaker/broken cleaner/cleaned gilder/gilded varnisher/varnished forger/forged "
    "praiser/praised guard/guarded dismantler/dismantled",
    ("product", "firm"): "insurer/insured transporter/transported licenser/licensed "
    "recycler/recycled wrapper/wrapped exporter/exported approver/approved",
    ("place", "person"): "surveyor/surveyed conqueror/conquered benefactor/endowed "
    "governor/governed chronicler/chronicled defender/defended explorer/explored saviour/saved besieger/besieged "
    "planner/planned blesser/blessed mapper/mapped robber/robbed",
    ("place", "firm"): "sweeper/swept heater/heated rebuilder/rebuilt sponsor/sponsored",
    ("firm", "person"): "auditor/audited reformer/reformed rescuer/rescued manager/managed "
    "adviser/advised financier/financed director/directed saboteur/sabotaged critic/criticised suer/sued",
    ("firm", "firm"): "lender/funded franchiser/franchised",
    ("person", "person"): "coach/coached guardian/raised portraitist/portrayed biographer/described "
    "bodyguard/protected healer/cured tailor/dressed captor/captured "
    "admirer/admired inspirer/inspired hypnotist/hypnotised",
    ("person", "firm"): "promoter/promoted exploiter/exploited outfitter/equipped",
}  # fmt: skip

# kind, value kind -> headings
_HEADINGS: dict[tuple[str, str], str] = {
    ("person", "person"): "uncle, aunt, nephew, stepmother, best friend, housekeeper, singing teacher, "
    "dance partner, interpreter, assistant, successor, predecessor, godchild, "
    "running mate, tax adviser, idol",
    ("person", "firm"): "phone company, gym, driving school, record label, travel agency, pension fund, "
    "favourite shop, energy provider, former landlord",
    ("person", "city"): "wedding town, place of the accident, honeymoon city, "
    "city of the first concert, dream destination, place of military service, town of the grandparents",
    ("person", "number"): "house number, membership number, number of books, bus pass, record time, chess rating, "
    "debt, jersey number, seat number, library card, bonus",
    ("person", "year"): "year of the first prize, year of the accident, year of the inheritance",
    ("person", "date"): "day of the driving test, day of the surgery, exam day, first day of leave, day of the trial",
    ("person", "colour"): "car colour, favourite colour, colour of the front door, coat colour",
    ("person", "animal"): "favourite animal, animal on the ring, childhood pet, animal in the garden",
    ("person", "dish"): "birthday dish, hated dish, lunch of today, family recipe",
    ("person", "material"): "ring material, boat material, material of the walking stick",
    ("firm", "person"): "caterer, receptionist, archivist, foreman, recruiter, longest-serving worker, "
    "first apprentice, whistle-blower, legal adviser, company doctor, cashier, deputy, heir apparent",
    ("firm", "firm"): "auditing firm, law firm, cleaning firm, partner company, advertising agency, printing works",
    ("firm", "city"): "training centre, port of loading, laboratory, largest market, archive town, "
    "city of the first branch",
    ("firm", "number"): "number of shops, turnover, number of customers, number of rooms, "
    "licence number, number of patents, number of strikes",
    ("firm", "year"): "year of the merger, year of the first loss, year of the move",
    ("firm", "date"): "annual meeting, summer party, day of the inspection, delivery day, holiday of the works",
    ("firm", "colour"): "folder colour, carpet colour, colour of the gates",
    ("firm", "dish"): "christmas dinner, monday lunch, dish for guests",
    ("firm", "material"): "material of the desks, window frames, wall panels",
    ("place", "person"): "bishop, postmaster, fire chief, police chief, station master, harbour master, bell ringer, "
    "lamplighter, watchman, headmaster, coroner, town crier, treasurer, organist, librarian, gravedigger, poet",
    ("place", "firm"): "power company, local brewery, phone provider, "
    "owner of the quarry, waste collector",
    ("place", "city"): "seat of the diocese, nearest airport, county seat, "
    "ferry destination, former capital, source of the drinking water",
    ("place", "number"): "number of schools, postal code, number of bridges, number of streets, "
    "rainy days, number of taxis, number of visitors, number of fountains, area",
    ("place", "year"): "year of the siege, year of the market hall, "
    "year of the first newspaper",
    ("place", "date"): "carnival, election day, harvest festival, first day of school, day of mourning, night market",
    ("place", "colour"): "colour of the buses, colour of the benches, colour of the town hall, bin colour",
    ("place", "animal"): "sacred animal, animal on the fountain, most common bird of prey",
    ("place", "ware"): "souvenir, former trade",
    ("place", "dish"): "sunday roast, market snack, dish of the poor",
    ("product", "person"): "translator of the manual, first customer, previous owner, patent lawyer, "
    "face of the advertisement",
    ("product", "firm"): "packaging firm, testing institute",
    ("product", "city"): "first exhibition, auction place, home port, testing site, return address",
    ("product", "number"): "number of screws, top speed, power, capacity, edition, model number, "
    "storage temperature, shelf number, safety rating",
    ("product", "year"): "year of purchase, year of the prize, year of the last repair",
    ("product", "date"): "day of the inspection, return date, date of purchase",
    ("product", "colour"): "lid colour, cable colour, strap colour, colour of the box",
    ("product", "material"): "handle, lid, foot, button material, inner lining, string",
    ("product", "ware"): "spare part, most similar article",
}  # fmt: skip

_SPANS = {"number": (3, 990, 1), "year": (1240, 2009, 1)}


def _deed(kind: str, value_kind: str, noun: str, done: str) -> Relation:
    """Somebody did something to the subject."""
    wordings = w(
        noun,
        f"{{s}} was {done} by {{v}}. | It was {{v}} by whom {{s}} was {done}.",
        f"By whom was {{s}} {done}? | {{s}} was {done} by whom?",
        f"{{s}} was {done} once. Who was it by? | Whom can one thank or blame, now that {{s}} was {done}?",
        f"What or who was {done} by {{v}}? | As {noun}, {{v}} had to do with whom or what?",
    )
    return Relation(kind, value_kind, {"train": wordings}, thin=True)


def _heading(kind: str, value_kind: str, noun: str) -> Relation:
    """Something that stands under a heading."""
    wordings = w(
        noun,
        f"Under {noun}, the entry for {{s}} reads {{v}}. | Speaking of {{s}}: {{v}} it is, as far as the {noun} goes.",
        f"What is the entry under {noun} for {{s}}? | {{s}} has what as {noun}?",
        f"What does one find for {{s}} when one looks up the {noun}? | How would you complete this: {noun} of {{s}}?",
        f"Whose {noun} is {{v}}? | Who or what has {{v}} entered under {noun}?",
    )
    return Relation(kind, value_kind, {"train": wordings}, span=_SPANS.get(value_kind), thin=True)


NAMED_RELATIONS: dict[str, Relation] = {
    **{
        f"{deed.partition('/')[0]}_of_{kind}": _deed(kind, value_kind, *deed.split("/"))
        for (kind, value_kind), deeds in _DEEDS.items()
        for deed in deeds.split()
    },
    **{
        f"{noun.replace(' ', '_')}_of_{kind}": _heading(kind, value_kind, noun)
        for (kind, value_kind), nouns in _HEADINGS.items()
        for noun in nouns.split(", ")
    },
}
