"""What the train split alone hears: more relations, more ways to speak of the others, and what people say around a
sentence.

A reader is as good as the variety of what it heard. Tune and test keep the few wordings that they have, so that a
judgement stays a judgement of wordings that nobody has trained on.
"""

from __future__ import annotations

from random import Random

from fastslow.worlds.wordings import Relation, w

# relation -> (statements, direct questions, paraphrases, reverse questions), | between the alternatives
REWORDINGS: dict[str, tuple[str, str, str, str]] = {
    "birth_year": (
        "{s} was a child of the year {v}. | The parents of {s} had their baby in {v}.",
        "What is the year in which {s} was born?",
        "From which year on can one count the age of {s}? | Which vintage is {s}? | How old is {s}, going by the year?",
        "Who is a child of the year {v}? | Whose parents had their baby in {v}?",
    ),
    "birth_city": (
        "The parents of {s} lived in {v} when the child arrived. | {s} began life in {v}.",
        "What is the city in which {s} was born?",
        "Where did {s} begin life? | On the streets of which town did {s} learn to walk?",
        "Who began life in {v}? | Which child has {v} produced?",
    ),
    "occupation": (
        "The trade of {s} is that of {av}. | If you need {av}, call {s}.",
        "What is {s} by trade?",
        "For what would one hire {s}? | What is written under the name of {s} on the door?",
        "Who could be hired as {av}? | Call whom, if you need {av}?",
    ),
    "employer": (
        "{s} draws a salary from {v}. | {s} signed a contract with {v}.",
        "What is the name of the firm that {s} works for?",
        "From whom does {s} draw a salary? | With whom did {s} sign a contract? | Who is the boss of {s}, as a firm?",
        "Who draws a salary from {v}? | Who signed a contract with {v}?",
    ),
    "pet": (
        "{av} lives with {s}. | {s} walks home to {av}.",
        "What is the pet of {s}?",
        "Who waits for {s} behind the door? | What kind of beast does {s} own?",
        "Who owns {av}? | Who goes home to {av}?",
    ),
    "mentor": (
        "{s} learned everything from {v}. | The teacher of {s} was {v}.",
        "Who was the teacher of {s}?",
        "To whose lessons does {s} owe the most? | Who had {s} as a pupil?",
        "Who learned everything from {v}? | Whose teacher was {v}?",
    ),
    "favourite_dish": (
        "Put {v} before {s} and there will be no complaint. | {s} orders {v} whenever it is on the card.",
        "What food does {s} like best?",
        "With which plate does one make {s} happy? | What does {s} order time and again?",
        "Who orders {v} whenever possible? | Whom does one make happy with {v}?",
    ),
    "founding_year": (
        "The first day of {s} fell in {v}. | {s} opened in {v}.",
        "What is the year in which {s} was founded?",
        "How long has {s} been around? | In which year did {s} come into being?",
        "Which firm opened in {v}? | Which firm came into being in {v}?",
    ),
    "founder": (
        "{s} was brought to life by {v}. | The first owner of {s}, who also created it, was {v}.",
        "By whom was {s} founded?",
        "Who created {s}? | Who took the first step towards {s}?",
        "Which firm did {v} bring to life? | What was created by {v}?",
    ),
    "headquarters": (
        "{s} sits in {v}. | The central office of {s} is found in {v}.",
        "What city is {s} based in?",
        "Where would one visit the bosses of {s}? | In which town is {s} at home?",
        "Which firm is at home in {v}? | Which firm sits in {v}?",
    ),
    "employees": (
        "{v} men and women work for {s}. | {s} gives work to {v} people.",
        "What is the number of people at {s}?",
        "To how many does {s} give work? | How many hands has {s}? | Counting everybody, how many work for {s}?",
        "Which firm gives work to {v} people? | For whom do {v} men and women work?",
    ),
    "ware": (
        "Whoever needs {v} goes to {s}. | From the halls of {s} come {v}.",
        "What are the goods of {s}?",
        "What comes out of the halls of {s}? | For what does one go to {s}?",
        "To whom does one go for {v}? | Which firm turns out {v}?",
    ),
    "emblem": (
        "On every letter of {s} there is {av}. | {s} chose {av} for its seal.",
        "What animal did {s} choose for its seal?",
        "What is drawn on the letters of {s}? | Which beast does one see over the door of {s}?",
        "Who chose {av} for a seal? | On whose letters is there {av}?",
    ),
    "mayor": (
        "The people of {s} voted for {v} to be mayor. | {s} has a mayor by the name of {v}.",
        "What is the name of the mayor of {s}?",
        "Who cuts the ribbons in {s}? | Whom did the people of {s} vote for? | Who sits in the mayor's chair of {s}?",
        "Where did the people vote for {v}? | The mayor of which town is {v}?",
    ),
    "population": (
        "In all, {v} men, women and children live in {s}. | The people of {s} number {v}.",
        "What is the number of inhabitants of {s}?",
        "How many neighbours does one have in {s}? | What is the size of {s}, in people?",
        "Where do {v} men, women and children live? | The people of which town number {v}?",
    ),
    "speciality": (
        "Nobody leaves {s} without a taste of {v}. | {v} is the pride of the kitchens of {s}.",
        "What is the food that {s} is famous for?",
        "What is cooked in {s} on a feast day? | A guest in {s} gets a plate of what?",
        "In which town is {v} the pride of the kitchens? | Where does a guest get {v}?",
    ),
    "river": (
        "The bridges of {s} cross the {v}. | {s} was built on the banks of the {v}.",
        "What is the river of {s}?",
        "Where do the people of {s} fish? | On whose banks was {s} built?",
        "Whose bridges cross the {v}? | What was built on the banks of the {v}?",
    ),
    "fair": (
        "Traders come to {s} for {v}, the day of the fair. | The fair of {s} falls on {v}.",
        "What is the date of the fair in {s}?",
        "For which day do traders come to {s}? | When is {s} full of traders?",
        "Whose fair falls on {v}? | To which town do traders come for {v}?",
    ),
    "maker": (
        "{s} leaves the gates of {v}. | We owe {s} to {v}.",
        "What firm is the maker of {s}?",
        "Where is {s} put together? | Which firm would repair {s}? | Who sends {s} out into the world?",
        "What leaves the gates of {v}? | What do we owe to {v}?",
    ),
    "price": (
        "The tag on {s} says {v} crowns. | You get {s} for {v} crowns.",
        "What is the price of {s} in crowns?",
        "What does the tag on {s} say? | How many crowns must I bring for {s}?",
        "What do I get for {v} crowns? | On what does the tag say {v} crowns?",
    ),
    "material": (
        "They make {s} out of {v}. | {s} is all {v}.",
        "What material is {s} made of?",
        "What was there before it became {s}? | What does the maker of {s} have to buy in?",
        "What do they make out of {v}? | What is all {v}?",
    ),
    "weight": (
        "Whoever lifts {s} lifts {v} grams. | {s} brings {v} grams to the scales.",
        "What is the weight of {s} in grams?",
        "How many grams does one lift with {s}? | What would the post charge {s} for, in grams?",
        "What brings {v} grams to the scales? | What does one lift with {v} grams?",
    ),
    "finish": (
        "The coat of {s} is {v}. | {s} leaves the shop in {v}.",
        "What colour is {s}?",
        "In what coat does {s} leave the shop? | What shade did they give {s}?",
        "What leaves the shop in {v}? | The coat of what is {v}?",
    ),
    "outlet": (
        "The one shop with {s} is in {v}. | Only {v} has {s} on its shelves.",
        "What is the city where {s} is sold?",
        "On the shelves of which city is {s}? | Where is the one shop with {s}?",
        "What is only on the shelves of {v}? | For what must one go to {v}?",
    ),
}  # fmt: skip


def _heard(
    kind: str,
    value_kind: str,
    noun: str,
    teach: str,
    direct: str,
    paraphrase: str,
    reverse: str,
    *,
    phrase: str = "{v}",
    span: tuple[int, int, int] | None = None,
) -> Relation:
    """A relation that only the train split has: the more of them a reader hears, the better it reads an unheard one."""
    return Relation(kind, value_kind, {"train": w(noun, teach, direct, paraphrase, reverse)}, phrase, span)


HEARD: tuple[Relation, ...] = (
    _heard(
        "person", "colour", "eye colour",
        "{s} looks at the world with {v} eyes. | The eyes of {s} are {v}.",
        "Which colour are the eyes of {s}?",
        "What does one notice in the face of {s}? | How do the eyes of {s} look?",
        "Who has {v} eyes? | Whose eyes are {v}?",
    ),
    _heard(
        "person", "person", "rival",
        "{s} competes with {v} wherever they meet. | Nobody annoys {s} as much as {v}.",
        "With whom does {s} compete?",
        "Who stands in the way of {s}? | Against whom does {s} always play?",
        "Who competes with {v}? | Who is annoyed by {v}?",
    ),
    _heard(
        "person", "person", "landlord",
        "{s} rents a room from {v}. | The rent of {s} goes to {v}.",
        "From whom does {s} rent a room?",
        "Who owns the rooms of {s}? | To whom does {s} owe the rent?",
        "Who rents a room from {v}? | Whose rent goes to {v}?",
    ),
    _heard(
        "person", "city", "holiday place",
        "Each summer {s} travels to {v}. | {s} spends every holiday in {v}.",
        "To which city does {s} travel each summer?",
        "Where does {s} take a rest from work? | Where would one meet {s} in the holidays?",
        "Who travels to {v} each summer? | Who spends the holidays in {v}?",
    ),
    _heard(
        "person", "ware", "collection",
        "{s} collects {v}. | The cellar of {s} is full of {v}.",
        "What does {s} collect?",
        "What would be a good gift for the collector {s}? | What fills the cellar of {s}?",
        "Who collects {v}? | Whose cellar is full of {v}?",
    ),
    _heard(
        "person", "number", "locker number",
        "{s} has locker {v}. | Locker {v} is kept for {s}.",
        "Which locker does {s} have?",
        "Where does {s} hang a coat at work? | Behind which number are the shoes of {s}?",
        "Who has locker {v}? | For whom is locker {v} kept?",
        span=(3, 890, 1),
    ),
    _heard(
        "person", "date", "wedding day",
        "{s} married on {v}. | The wedding of {s} was held on {v}.",
        "On which date did {s} marry?",
        "When did {s} say yes? | Which day does {s} keep with a spouse?",
        "Who married on {v}? | Whose wedding was held on {v}?",
    ),
    _heard(
        "person", "firm", "bank",
        "{s} keeps all savings with {v}. | {v} looks after the money of {s}.",
        "With which firm does {s} keep savings?",
        "Who looks after the money of {s}? | Where does {s} have an account?",
        "Who keeps savings with {v}? | Whose money does {v} look after?",
    ),
    _heard(
        "person", "animal", "most feared animal",
        "{s} is afraid of every {v}. | {s} runs away from any {v}.",
        "Of which animal is {s} afraid?",
        "What makes {s} run away? | Which creature gives {s} bad dreams?",
        "Who is afraid of every {v}? | Who runs away from any {v}?",
    ),
    _heard(
        "person", "year", "year of arrival",
        "{s} came to this country in {v}. | Since {v} this country has been the home of {s}.",
        "In which year did {s} come to this country?",
        "How long ago did {s} cross the border? | When did {s} get off the boat?",
        "Who came to this country in {v}? | Who crossed the border in {v}?",
        span=(1951, 2019, 1),
    ),
    _heard(
        "firm", "person", "accountant",
        "{v} keeps the books of {s}. | The books of {s} are in the hands of {v}.",
        "Who keeps the books of {s}?",
        "Who adds up the bills at {s}? | Who knows what {s} earns to the last coin?",
        "Which firm has its books kept by {v}? | For which firm does {v} add up the bills?",
    ),
    _heard(
        "firm", "firm", "insurer",
        "{s} is insured with {v}. | If {s} burns down, {v} has to pay.",
        "With which firm is {s} insured?",
        "Who pays if {s} burns down? | Who covers the losses of {s}?",
        "Which firm is insured with {v}? | For whose fire would {v} have to pay?",
    ),
    _heard(
        "firm", "dish", "canteen dish",
        "On Fridays the canteen of {s} serves {v}. | The canteen of {s} is loved for its {v}.",
        "What does the canteen of {s} serve on Fridays?",
        "What do people eat for lunch at {s}? | For which meal is the kitchen of {s} loved?",
        "Which firm serves {v} on Fridays? | Whose canteen is loved for its {v}?",
    ),
    _heard(
        "firm", "number", "number of lorries",
        "{s} runs {v} lorries. | In the yard of {s} stand {v} lorries.",
        "How many lorries does {s} run?",
        "How large is the fleet of {s}? | What could one count in the yard of {s}?",
        "Which firm runs {v} lorries? | In whose yard stand {v} lorries?",
        span=(2, 180, 1),
    ),
    _heard(
        "firm", "material", "floor material",
        "The floors of {s} are laid with {v}. | At {s} one walks on {v}.",
        "With what are the floors of {s} laid?",
        "What is under your feet at {s}? | On what does one walk at {s}?",
        "Which firm has floors of {v}? | At which firm does one walk on {v}?",
    ),
    _heard(
        "firm", "date", "pay day",
        "{s} pays the yearly bonus on {v}. | The staff of {s} wait for {v}, the day of the bonus.",
        "On which date does {s} pay the bonus?",
        "When is there extra money at {s}? | For which day do the people at {s} wait?",
        "Which firm pays the bonus on {v}? | Whose bonus comes on {v}?",
    ),
    _heard(
        "firm", "animal", "watch animal",
        "The gate of {s} is guarded by {av}. | {s} keeps {av} at its gate.",
        "Which animal guards the gate of {s}?",
        "Who greets a thief at {s}? | What creature lives at the gate of {s}?",
        "Which firm is guarded by {av}? | At whose gate lives {av}?",
        phrase="{av}",
    ),
    _heard(
        "place", "city", "twin town",
        "{s} is twinned with {v}. | {s} and {v} exchange their pupils as twin towns; {v} is the elder of the two.",
        "With which town is {s} twinned?",
        "Which town is a sister to {s}? | Where do the pupils of {s} go on exchange?",
        "Which town is twinned with {v}? | For which town is {v} a sister?",
    ),
    _heard(
        "place", "person", "doctor",
        "The only doctor in {s} is {v}. | In {s} the sick go to {v}.",
        "Who is the doctor in {s}?",
        "To whom do the sick of {s} go? | Who heals people in {s}?",
        "In which town is {v} the doctor? | In which town do the sick go to {v}?",
    ),
    _heard(
        "place", "colour", "flag colour",
        "The flag of {s} is {v}. | Over the hall of {s} flies a flag in {v}.",
        "Which colour is the flag of {s}?",
        "What flies over the hall of {s}? | In what cloth do the fans of {s} dress?",
        "Which town has a flag in {v}? | Over which town flies a flag in {v}?",
    ),
    _heard(
        "place", "material", "bridge material",
        "The old bridge of {s} is built of {v}. | One enters {s} over a bridge of {v}.",
        "Of what is the bridge of {s} built?",
        "On what does one cross into {s}? | What did the bridge makers of {s} use?",
        "Which town has a bridge of {v}? | Into which town leads a bridge of {v}?",
    ),
    _heard(
        "place", "number", "altitude",
        "{s} lies {v} metres above the sea. | At {s} the map shows a height of {v} metres.",
        "How many metres above the sea does {s} lie?",
        "How high up is {s}? | Which height does the map show at {s}?",
        "Which town lies {v} metres above the sea? | Where does the map show {v} metres?",
        phrase="{v} metres", span=(4, 990, 1),
    ),
    _heard(
        "place", "firm", "largest employer",
        "Most people in {s} earn their living at {v}. | {v} gives more jobs to {s} than anyone else.",
        "At which firm do most people in {s} earn their living?",
        "Who gives the most jobs to {s}? | Without which firm would {s} be poor?",
        "In which town do most people work for {v}? | To which town does {v} give most jobs?",
    ),
    _heard(
        "place", "year", "year of the flood",
        "{s} was flooded in {v}. | The water stood in the streets of {s} in {v}.",
        "In which year was {s} flooded?",
        "When did the water stand in the streets of {s}? | Since when does {s} fear its river?",
        "Which town was flooded in {v}? | Where did the water stand in the streets in {v}?",
        span=(1701, 1990, 1),
    ),
    _heard(
        "place", "instrument", "tower tune",
        "From the tower of {s} one hears {av} at noon. | At noon {s} listens to {av} from the tower.",
        "What does one hear from the tower of {s} at noon?",
        "How does {s} know that it is noon? | What sounds over the roofs of {s}?",
        "Where does one hear {av} at noon? | Which town listens to {av} from the tower?",
        phrase="{av}",
    ),
    _heard(
        "product", "person", "engraver",
        "{v} cut the letters into {s}. | The letters on {s} are by {v}.",
        "Who cut the letters into {s}?",
        "Whose hand shows in the letters on {s}? | Who took a chisel to {s}?",
        "Into what did {v} cut letters? | Which article has its letters from {v}?",
    ),
    _heard(
        "product", "number", "warranty",
        "{s} has a warranty of {v} months. | If {s} breaks within {v} months, the shop mends it.",
        "How many months of warranty does {s} have?",
        "How long does the shop mend {s} for nothing? | Until when may {s} break?",
        "What has a warranty of {v} months? | Which article is mended for {v} months?",
        phrase="{v} months", span=(2, 95, 1),
    ),
    _heard(
        "product", "firm", "importer",
        "{v} brings {s} into the country. | {s} comes over the border with {v}.",
        "Which firm brings {s} into the country?",
        "Who is behind the import of {s}? | With whom does {s} come over the border?",
        "What does {v} bring into the country? | Which article is imported by {v}?",
    ),
    _heard(
        "product", "material", "box material",
        "{s} is packed in a box of {v}. | Around {s} there is a box of {v}.",
        "In a box of what is {s} packed?",
        "What must one open to get at {s}? | What protects {s} on its way?",
        "What is packed in a box of {v}? | Which article lies in a box of {v}?",
    ),
    _heard(
        "product", "year", "patent year",
        "The patent for {s} was granted in {v}. | Since {v} there has been a patent on {s}.",
        "In which year was the patent for {s} granted?",
        "How old is the patent on {s}? | Since when may nobody copy {s}?",
        "What got its patent in {v}? | On which article has there been a patent since {v}?",
        span=(1881, 1999, 1),
    ),
    _heard(
        "product", "animal", "trade mark",
        "{s} carries a picture of {av}. | On the bottom of {s} is a small {v}.",
        "Which animal is pictured on {s}?",
        "By what mark do you know a real {s}? | What creature is on the bottom of {s}?",
        "What carries a picture of {av}? | On which article is a small {v}?",
        phrase="{av}",
    ),
)  # fmt: skip

QUESTION_AROUND: tuple[str, ...] = (
    "{q} Thank you.",
    "{q} Please be brief.",
    "Quick question: {q}",
    "Hello! {q}",
    "For my notes: {q}",
    "One more thing. {q}",
    "I have to know this for tomorrow. {q}",
    "Maybe you can help. {q}",
    "{q} I cannot find it anywhere.",
    "Let me ask you something. {q}",
    "{q} Just the answer, please.",
    "A friend asks: {q}",
    "Now to something else. {q}",
    "Question: {q}",
    "{q} You told me once.",
    "What do you remember of this? {q}",
)
STATEMENT_AROUND: tuple[str, ...] = (
    "For the record: {t}",
    "Here is what I read. {t}",
    "{t} This is all that we know.",
    "{t} I saw it myself.",
    "Listen. {t}",
    "{t} Write that down.",
    "Monday. {t}",
    "News from the office: {t}",
    "Somebody told me the following. {t}",
    "- {t}",
    "{t} (From a letter.)",
    "Remember this: {t}",
)


def around(sentence: str, frames: tuple[str, ...], slot: str, rng: Random, share: float) -> str:
    """The sentence, in ``share`` of all cases with something said around it."""
    return rng.choice(frames).format(**{slot: sentence}) if rng.random() < share else sentence
