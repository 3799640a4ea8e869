"""What the train split alone hears of the relations that others have too: more ways to speak of them, and what people
say around a sentence.

A reader is as good as the variety of what it heard. Test keeps the few wordings that it has, so that a judgement
stays a judgement of wordings that nobody has trained on.
"""

from __future__ import annotations

from random import Random

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
