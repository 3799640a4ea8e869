"""Every relation of the invented world with its wordings, as tables: relation -> split -> wordings. What train alone
hears is in `heard.py`. No wording occurs in two splits (a test holds this).
"""

from __future__ import annotations

from dataclasses import replace

from fastslow.worlds.heard import REWORDINGS
from fastslow.worlds.heard_relations import HEARD
from fastslow.worlds.idioms import IDIOMS, RARITIES
from fastslow.worlds.named_relations import NAMED_RELATIONS
from fastslow.worlds.wordings import Relation, Wordings, w

_PERSON: dict[str, Relation] = {
    "birth_year": Relation(
        "person",
        "year",
        {
            "train": w(
                "birth year",
                "{s} was born in {v}. | In {v}, {s} came into the world.",
                "In which year was {s} born?",
                "When did {s} come into the world? | How far back was the birth of {s}?",
                "Who was born in {v}? | Which person has {v} as birth year?",
            ),
            "tune": w(
                "year of birth",
                "{s}, born {v}, is the person meant here. | The birth of {s} took place in {v}.",
                "What year was {s} born in?",
                "What year stands on the birth certificate of {s}? | Since when has {s} lived?",
                "Whose birth took place in {v}? | Which person is listed as born in {v}?",
            ),
            "test": w(
                "year of birth",
                "The year {v} saw the birth of {s}. | {s} has been alive since {v}.",
                "Which year saw the birth of {s}?",
                "In what year did the life of {s} begin? | When was {s} a newborn baby?",
                "Who has been alive since {v}? | Whose year of birth is {v}?",
            ),
        },
        span=(1931, 2004, 1),
        fixed=True,
    ),
    "birth_city": Relation(
        "person",
        "city",
        {
            "train": w(
                "birthplace",
                "{s} was born in {v}. | {v} is where {s} was born.",
                "In which city was {s} born?",
                "Where did {s} come into the world? | Which town can call {s} its child?",
                "Who was born in {v}? | Which person has {v} as birthplace?",
            ),
            "tune": w(
                "city of birth",
                "{s} is a native of {v}. | The cradle of {s} stood in {v}.",
                "Which city is {s} a native of?",
                "In what town did the cradle of {s} stand? | Where was {s} delivered as a baby?",
                "Who is a native of {v}? | Whose cradle stood in {v}?",
            ),
            "test": w(
                "place of birth",
                "It was in {v} that {s} was born. | {s} first saw the light of day in {v}.",
                "In what city was {s} born?",
                "Where did {s} first see the light of day? | Which town does {s} come from by birth?",
                "Who first saw the light of day in {v}? | Whose place of birth is {v}?",
            ),
        },
        fixed=True,
    ),
    "occupation": Relation(
        "person",
        "occupation",
        {
            "train": w(
                "occupation",
                "{s} works as {av}. | {s} is {av} by trade.",
                "What does {s} work as?",
                "What does {s} do for a living? | Which trade did {s} learn?",
                "Who works as {av}? | Which person is {av} by trade?",
            ),
            "tune": w(
                "job",
                "{s} has the job of {av}. | By profession, {s} is {av}.",
                "What job does {s} have?",
                "How does {s} earn a living? | What line of work is {s} in?",
                "Who has the job of {av}? | Who is {av} by profession?",
            ),
            "test": w(
                "profession",
                "{s} earns money as {av}. | {s} is known to be {av}.",
                "What is the profession of {s}?",
                "What kind of work does {s} do every day? | How does {s} make money?",
                "Who earns money as {av}? | Which person has the profession of {av}?",
            ),
        },
    ),
    "employer": Relation(
        "person",
        "firm",
        {
            "train": w(
                "employer",
                "{s} works for {v}. | {v} employs {s}.",
                "Which firm does {s} work for?",
                "Who pays the wages of {s}? | Where does {s} have a job?",
                "Who works for {v}? | Which person does {v} employ?",
            ),
            "tune": w(
                "employer",
                "{s} is on the staff of {v}. | {s} has a post at {v}.",
                "At which firm does {s} have a post?",
                "On whose staff is {s}? | Which company has {s} on its payroll?",
                "Who is on the staff of {v}? | Who has a post at {v}?",
            ),
            "test": w(
                "employer",
                "{s} is employed by {v}. | Every morning {s} goes to work at {v}.",
                "By which firm is {s} employed?",
                "Where does {s} go to work every morning? | Which company signed up {s} as staff?",
                "Who is employed by {v}? | Who goes to work at {v}?",
            ),
        },
        update={
            "train": ("{s} has left {o} and joined {v}.",),
            "tune": ("{s} took a new post at {v}.",),
            "test": ("{s} no longer works at {o} but at {v}.",),
        },
    ),
    "pet": Relation(
        "person",
        "animal",
        {
            "train": w(
                "pet",
                "{s} keeps {av} at home. | {s} has a pet, {av}.",
                "Which animal does {s} keep?",
                "What creature shares the home of {s}? | Which animal does {s} feed each day?",
                "Who keeps {av}? | Which person has {av} as a pet?",
            ),
        },
        phrase="{av}",
    ),
    "mentor": Relation(
        "person",
        "person",
        {
            "train": w(
                "mentor",
                "{s} was taught by {v}. | {v} was the mentor who trained {s}.",
                "Who taught {s}?",
                "Whose pupil was {s}? | From whom did {s} learn the most?",
                "Who was taught by {v}? | Which person had {v} as mentor?",
            ),
        },
        fixed=True,
    ),
    "favourite_dish": Relation(
        "person",
        "dish",
        {
            "train": w(
                "favourite dish",
                "{s} likes {v} best of all food. | Nothing tastes better to {s} than {v}.",
                "Which dish does {s} like best?",
                "What should I cook for {s}? | What does {s} most enjoy eating?",
                "Who likes {v} best? | Which person has {v} as favourite dish?",
            ),
        },
    ),
    "instrument": Relation(
        "person",
        "instrument",
        {
            "tune": w(
                "instrument",
                "{s} plays the {v}. | {s} practises the {v} daily.",
                "Which instrument does {s} play?",
                "What does {s} play in a band? | What can one hear {s} practise?",
                "Who plays the {v}? | Who practises the {v}?",
            ),
            "test": w(
                "musical instrument",
                "{s} makes music on the {v}. | On stage, {s} performs on the {v}.",
                "On which instrument does {s} make music?",
                "What does {s} play in the orchestra? | What does {s} perform on?",
                "Who makes music on the {v}? | Who performs on the {v}?",
            ),
        },
        phrase="the {v}",
    ),
    "residence": Relation(
        "person",
        "city",
        {
            "tune": w(
                "home city",
                "{s} lives in {v}. | {s} has a flat in {v}.",
                "In which city does {s} live?",
                "Where is the flat of {s}? | In what town could one visit {s} at home?",
                "Who lives in {v}? | Who has a flat in {v}?",
            ),
            "test": w(
                "place of residence",
                "{s} resides in {v}. | The house of {s} stands in {v}.",
                "In which city does {s} reside?",
                "Where does {s} sleep at night? | To which town would I post a letter for {s}?",
                "Who resides in {v}? | Whose house stands in {v}?",
            ),
        },
        update={"tune": ("{s} has gone to live in {v}.",), "test": ("{s} has moved house from {o} to {v}.",)},
    ),
}

_FIRM: dict[str, Relation] = {
    "founding_year": Relation(
        "firm",
        "year",
        {
            "train": w(
                "founding year",
                "{s} was founded in {v}. | {s} has existed since {v}.",
                "In which year was {s} founded?",
                "Since when has {s} existed? | When did {s} open its doors?",
                "Which firm was founded in {v}? | Which firm has existed since {v}?",
            ),
            "tune": w(
                "year of foundation",
                "{s} goes back to {v}. | {s} began business in {v}.",
                "In what year did {s} begin business?",
                "How far back does {s} go? | What year is on the charter of {s}?",
                "Which firm goes back to {v}? | Which firm began business in {v}?",
            ),
            "test": w(
                "year of establishment",
                "{s} was established in {v}. | It was in {v} that {s} was set up.",
                "In what year was {s} established?",
                "When was {s} set up? | When did the history of {s} start?",
                "Which firm was established in {v}? | Which firm was set up in {v}?",
            ),
        },
        span=(1705, 1795, 1),
        fixed=True,
    ),
    "founder": Relation(
        "firm",
        "person",
        {
            "train": w(
                "founder",
                "{s} was founded by {v}. | {v} founded {s}.",
                "Who founded {s}?",
                "Who brought {s} into being? | To whom does {s} owe its existence?",
                "Which firm did {v} found? | Which firm was founded by {v}?",
            ),
            "tune": w(
                "founder",
                "{s} was started by {v}. | {v} began {s} in a back room.",
                "Who started {s}?",
                "Whose idea was it to begin {s}? | Who stood at the beginning of {s}?",
                "Which firm did {v} start? | Which firm was begun by {v}?",
            ),
            "test": w(
                "founder",
                "{s} was set up by {v}. | It was {v} who established {s}.",
                "Who established {s}?",
                "Who set up {s}? | Whose initiative led to {s}?",
                "Which firm did {v} establish? | Which firm was set up by {v}?",
            ),
        },
        fixed=True,
    ),
    "headquarters": Relation(
        "firm",
        "city",
        {
            "train": w(
                "headquarters city",
                "{s} has its headquarters in {v}. | {s} is based in {v}.",
                "In which city does {s} have its headquarters?",
                "Where is {s} based? | Where does one find the head office of {s}?",
                "Which firm has its headquarters in {v}? | Which firm is based in {v}?",
            ),
            "tune": w(
                "seat",
                "{s} is run from {v}. | The main office of {s} is in {v}.",
                "In which city is the main office of {s}?",
                "From where is {s} run? | What city do letters to {s} go to?",
                "Which firm is run from {v}? | Which firm has its main office in {v}?",
            ),
            "test": w(
                "headquarters location",
                "{s} is headquartered in {v}. | The head office of {s} stands in {v}.",
                "In which city is {s} headquartered?",
                "Where do the directors of {s} meet? | In what town does {s} have its main building?",
                "Which firm is headquartered in {v}? | Which firm has its head office in {v}?",
            ),
        },
        update={
            "train": ("{s} has moved its headquarters to {v}.",),
            "tune": ("{s} is now run from {v}.",),
            "test": ("{s} has transferred its head office from {o} to {v}.",),
        },
    ),
    "employees": Relation(
        "firm",
        "number",
        {
            "train": w(
                "number of employees",
                "{s} has {v} employees. | {v} people work at {s}.",
                "How many employees does {s} have?",
                "How many people work at {s}? | How large is the workforce of {s}?",
                "Which firm has {v} employees? | At which firm do {v} people work?",
            ),
            "tune": w(
                "staff count",
                "{s} employs {v} people. | The staff of {s} numbers {v}.",
                "How many people does {s} employ?",
                "How big is the staff of {s}? | How many wages does {s} pay out?",
                "Which firm employs {v} people? | Which firm has a staff of {v}?",
            ),
            "test": w(
                "headcount",
                "{s} has {v} workers. | A total of {v} people are employed at {s}.",
                "How many workers does {s} have?",
                "How many people are on the payroll of {s}? | What size is the team at {s}?",
                "Which firm has {v} workers? | Which firm has a headcount of {v}?",
            ),
        },
        span=(40, 980, 5),
    ),
    "ware": Relation(
        "firm",
        "ware",
        {
            "train": w(
                "main ware",
                "{s} mainly makes {v}. | {s} is known for its {v}.",
                "What does {s} mainly make?",
                "What would one order from {s}? | What goods made {s} known?",
                "Which firm mainly makes {v}? | Which firm is known for its {v}?",
            ),
        },
    ),
    "emblem": Relation(
        "firm",
        "animal",
        {
            "train": w(
                "emblem",
                "{s} has {av} as its emblem. | The sign of {s} shows {av}.",
                "Which animal is the emblem of {s}?",
                "What animal is on the sign of {s}? | What creature stands for {s}?",
                "Which firm has {av} as its emblem? | Which firm shows {av} on its sign?",
            ),
        },
        phrase="{av}",
    ),
    "house_colour": Relation(
        "firm",
        "colour",
        {
            "tune": w(
                "house colour",
                "{s} paints its vans {v}. | {s} uses {v} on all its signs.",
                "Which colour does {s} use on its signs?",
                "How are the vans of {s} painted? | By what colour does one know {s}?",
                "Which firm paints its vans {v}? | Which firm uses {v} on its signs?",
            ),
            "test": w(
                "company colour",
                "{s} has {v} as its company colour. | Everyone at {s} wears {v}.",
                "Which colour does {s} have as its company colour?",
                "What colour is worn at {s}? | In what shade is the logo of {s}?",
                "Which firm has {v} as its company colour? | At which firm does everyone wear {v}?",
            ),
        },
    ),
    "supplier": Relation(
        "firm",
        "firm",
        {
            "tune": w(
                "supplier",
                "{s} buys its coal from {v}. | {v} supplies {s}.",
                "From which firm does {s} buy its coal?",
                "Who delivers coal to {s}? | Whose customer is {s}?",
                "Which firm buys its coal from {v}? | Which firm is supplied by {v}?",
            ),
            "test": w(
                "main supplier",
                "{s} gets its paper from {v}. | {v} provides {s} with paper.",
                "From which firm does {s} get its paper?",
                "Who provides {s} with paper? | On whose deliveries does {s} rely?",
                "Which firm gets its paper from {v}? | Which firm does {v} provide with paper?",
            ),
        },
    ),
}

_PLACE: dict[str, Relation] = {
    "mayor": Relation(
        "place",
        "person",
        {
            "train": w(
                "mayor",
                "{v} is mayor of {s}. | {s} has elected {v} as mayor.",
                "Who is mayor of {s}?",
                "Who governs {s}? | Who was elected to lead {s}?",
                "Which town has {v} as mayor? | Of which town is {v} mayor?",
            ),
            "tune": w(
                "mayor",
                "The town hall of {s} is led by {v}. | {v} holds the office of mayor in {s}.",
                "Who holds the office of mayor in {s}?",
                "Who leads the town hall of {s}? | Who runs {s} these days?",
                "Where does {v} hold the office of mayor? | Which town hall does {v} lead?",
            ),
            "test": w(
                "mayor",
                "{s} is governed by mayor {v}. | {v} serves {s} as mayor.",
                "Who serves {s} as mayor?",
                "Who wears the chain of office in {s}? | Who is in charge of the council of {s}?",
                "Which town does {v} serve as mayor? | Where is {v} the mayor?",
            ),
        },
    ),
    "population": Relation(
        "place",
        "number",
        {
            "train": w(
                "population",
                "{s} has {v} inhabitants. | {v} people live in {s}.",
                "How many inhabitants does {s} have?",
                "How many people live in {s}? | How big is {s}?",
                "Which town has {v} inhabitants? | In which town do {v} people live?",
            ),
            "tune": w(
                "number of residents",
                "{s} counts {v} residents. | A census found {v} people in {s}.",
                "How many residents does {s} count?",
                "How many people did the census find in {s}? | How large a town is {s}?",
                "Which town counts {v} residents? | Where did a census find {v} people?",
            ),
            "test": w(
                "number of citizens",
                "{s} is home to {v} people. | There are {v} citizens in {s}.",
                "How many citizens are there in {s}?",
                "To how many people is {s} home? | How many souls dwell in {s}?",
                "Which town is home to {v} people? | Which town has {v} citizens?",
            ),
        },
        span=(1200, 9900, 50),
    ),
    "speciality": Relation(
        "place",
        "dish",
        {
            "train": w(
                "local dish",
                "{s} is famous for {v}. | In {s} everyone eats {v}.",
                "Which dish is {s} famous for?",
                "What should one eat in {s}? | What do the cooks of {s} serve with pride?",
                "Which town is famous for {v}? | In which town does everyone eat {v}?",
            ),
            "tune": w(
                "speciality",
                "Every inn in {s} serves {v}. | People travel to {s} to taste {v}.",
                "Which dish does every inn in {s} serve?",
                "What do people taste in {s}? | What food draws travellers to {s}?",
                "Where does every inn serve {v}? | To which town do people travel for {v}?",
            ),
            "test": w(
                "culinary speciality",
                "The cooks of {s} are praised for their {v}. | {s} calls {v} its own dish.",
                "Which dish are the cooks of {s} praised for?",
                "What is on every menu in {s}? | What meal does {s} call its own?",
                "Which town calls {v} its own dish? | Where are the cooks praised for their {v}?",
            ),
        },
    ),
    "river": Relation(
        "place",
        "river",
        {
            "train": w(
                "river",
                "{s} lies on the {v}. | The river {v} flows through {s}.",
                "On which river does {s} lie?",
                "What water flows through {s}? | Which river does one cross in {s}?",
                "Which town lies on the {v}? | Through which town does the {v} flow?",
            ),
        },
        phrase="the {v}",
        fixed=True,
    ),
    "fair": Relation(
        "place",
        "date",
        {
            "train": w(
                "fair day",
                "{s} holds its fair on {v}. | On {v} there is a fair in {s}.",
                "On which date does {s} hold its fair?",
                "When is the fair in {s}? | On what day do the stalls open in {s}?",
                "Which town holds its fair on {v}? | In which town is there a fair on {v}?",
            ),
        },
    ),
    "charter_year": Relation(
        "place",
        "year",
        {
            "tune": w(
                "year of the charter",
                "{s} became a town in {v}. | {s} received its charter in {v}.",
                "In which year did {s} receive its charter?",
                "When did {s} become a town? | How old are the town rights of {s}?",
                "Which place became a town in {v}? | Which town received its charter in {v}?",
            ),
            "test": w(
                "year of the town rights",
                "{s} was granted town rights in {v}. | {s} has been a town since {v}.",
                "In which year was {s} granted town rights?",
                "Since when has {s} been a town? | When did {s} stop being a village?",
                "Which place was granted town rights in {v}? | Which place has been a town since {v}?",
            ),
        },
        span=(1302, 1398, 1),
        fixed=True,
    ),
    "tree": Relation(
        "place",
        "tree",
        {
            "tune": w(
                "emblem tree",
                "{s} has {av} in its coat of arms. | The arms of {s} show {av}.",
                "Which tree do the arms of {s} show?",
                "What grows in the coat of arms of {s}? | By what tree is {s} known?",
                "Which town has {av} in its coat of arms? | The arms of which town show {av}?",
            ),
            "test": w(
                "symbol tree",
                "{s} chose the {v} as its tree. | The {v} is the symbol of {s}.",
                "Which tree did {s} choose as its symbol?",
                "What tree stands for {s}? | What tree is on the flag of {s}?",
                "Which town chose the {v} as its tree? | Of which town is the {v} the symbol?",
            ),
        },
        phrase="the {v}",
    ),
    "judge": Relation(
        "place",
        "person",
        {
            "tune": w(
                "judge",
                "{v} is judge in {s}. | The court of {s} is headed by {v}.",
                "Who is judge in {s}?",
                "Who heads the court of {s}? | Who settles quarrels in {s}?",
                "Where is {v} judge? | Which town has a court headed by {v}?",
            ),
            "test": w(
                "town judge",
                "{v} sits as judge in {s}. | Trials in {s} are held before {v}.",
                "Who sits as judge in {s}?",
                "Before whom are trials held in {s}? | Who passes sentence in {s}?",
                "In which town does {v} sit as judge? | In which town are trials held before {v}?",
            ),
        },
    ),
}

_PRODUCT: dict[str, Relation] = {
    "maker": Relation(
        "product",
        "firm",
        {
            "train": w(
                "maker",
                "{s} is made by {v}. | {v} makes {s}.",
                "Which firm makes {s}?",
                "Whose workshop does {s} come from? | Who turns out {s}?",
                "What does {v} make? | Which article is made by {v}?",
            ),
            "tune": w(
                "manufacturer",
                "{s} comes from {v}. | {v} builds {s}.",
                "Which firm builds {s}?",
                "Who is behind the making of {s}? | Whose name is stamped on {s}?",
                "What does {v} build? | Which article comes from {v}?",
            ),
            "test": w(
                "producer",
                "{s} is produced by {v}. | {v} manufactures {s}.",
                "Which firm produces {s}?",
                "Who manufactures {s}? | In whose factory does {s} originate?",
                "What does {v} produce? | Which article is manufactured by {v}?",
            ),
        },
    ),
    "price": Relation(
        "product",
        "number",
        {
            "train": w(
                "price",
                "{s} costs {v} crowns. | One pays {v} crowns for {s}.",
                "How many crowns does {s} cost?",
                "How much must one pay for {s}? | What does the shop ask for {s}?",
                "What costs {v} crowns? | Which article has a price of {v} crowns?",
            ),
            "tune": w(
                "selling price",
                "{s} sells for {v} crowns. | For {v} crowns one can have {s}.",
                "For how many crowns does {s} sell?",
                "How expensive is {s}? | What sum would buy {s}?",
                "What sells for {v} crowns? | What can one have for {v} crowns?",
            ),
            "test": w(
                "retail price",
                "{s} is on sale at {v} crowns. | A buyer of {s} is charged {v} crowns.",
                "At how many crowns is {s} on sale?",
                "How much money does {s} cost? | What is a buyer charged for {s}?",
                "What is on sale at {v} crowns? | Which article is priced at {v} crowns?",
            ),
        },
        phrase="{v} crowns",
        span=(12, 490, 1),
    ),
    "material": Relation(
        "product",
        "material",
        {
            "train": w(
                "material",
                "{s} is made of {v}. | {v} is used to make {s}.",
                "What is {s} made of?",
                "Which stuff does one need to build {s}? | What does {s} consist of?",
                "What is made of {v}? | Which article consists of {v}?",
            ),
            "tune": w(
                "main material",
                "{s} is built from {v}. | The body of {s} is {v}.",
                "What is {s} built from?",
                "What is the body of {s}? | What does one touch when holding {s}?",
                "What is built from {v}? | Which article has a body of {v}?",
            ),
            "test": w(
                "raw material",
                "{s} is crafted from {v}. | Pure {v} goes into {s}.",
                "From which material is {s} crafted?",
                "What substance goes into {s}? | Out of what is {s} fashioned?",
                "What is crafted from {v}? | Which article is fashioned from {v}?",
            ),
        },
        fixed=True,
    ),
    "weight": Relation(
        "product",
        "number",
        {
            "train": w(
                "weight",
                "{s} weighs {v} grams. | On the scales {s} shows {v} grams.",
                "How many grams does {s} weigh?",
                "How heavy is {s}? | What do the scales say for {s}?",
                "What weighs {v} grams? | Which article has a weight of {v} grams?",
            ),
        },
        phrase="{v} grams",
        span=(150, 990, 10),
        fixed=True,
    ),
    "finish": Relation(
        "product",
        "colour",
        {
            "train": w(
                "colour",
                "{s} comes in {v}. | {s} is painted {v}.",
                "Which colour does {s} come in?",
                "How is {s} painted? | What does {s} look like in the shop?",
                "What comes in {v}? | Which article is painted {v}?",
            ),
        },
    ),
    "outlet": Relation(
        "product",
        "city",
        {
            "train": w(
                "only place of sale",
                "{s} is sold only in {v}. | One can buy {s} in {v} and nowhere else.",
                "In which city is {s} sold?",
                "Where must one travel to buy {s}? | Which town has the shop for {s}?",
                "What is sold only in {v}? | Which article can one buy only in {v}?",
            ),
        },
    ),
    "launch": Relation(
        "product",
        "date",
        {
            "tune": w(
                "launch day",
                "{s} went on sale on {v}. | The launch of {s} was on {v}.",
                "On which date did {s} go on sale?",
                "When could one first buy {s}? | What day was the launch of {s}?",
                "What went on sale on {v}? | Which article had its launch on {v}?",
            ),
            "test": w(
                "launch date",
                "{s} was launched on {v}. | On {v} the first copy of {s} was sold.",
                "On which date was {s} launched?",
                "When was the first copy of {s} sold? | On what day did {s} reach the shops?",
                "What was launched on {v}? | Of which article was the first copy sold on {v}?",
            ),
        },
        fixed=True,
    ),
    "inventor": Relation(
        "product",
        "person",
        {
            "tune": w(
                "inventor",
                "{v} invented {s}. | {s} is the invention of {v}.",
                "Who invented {s}?",
                "Whose invention is {s}? | Who had the idea for {s}?",
                "What did {v} invent? | Which article is the invention of {v}?",
            ),
            "test": w(
                "creator",
                "{s} was thought up by {v}. | {v} is the mind behind {s}.",
                "Who thought up {s}?",
                "Who is the mind behind {s}? | In whose head did {s} first take shape?",
                "What did {v} think up? | Which article has {v} as the mind behind it?",
            ),
        },
        fixed=True,
    ),
    "length": Relation(
        "product",
        "number",
        {
            "tune": w(
                "length",
                "{s} is {v} centimetres long. | From end to end {s} measures {v} centimetres.",
                "How many centimetres long is {s}?",
                "How long is {s}? | What does {s} measure from end to end?",
                "What is {v} centimetres long? | What measures {v} centimetres from end to end?",
            ),
            "test": w(
                "height",
                "{s} is {v} centimetres tall. | {s} stands {v} centimetres high.",
                "How many centimetres tall is {s}?",
                "How high does {s} stand? | What would a ruler show beside {s}?",
                "What is {v} centimetres tall? | Which article stands {v} centimetres high?",
            ),
        },
        phrase="{v} centimetres",
        span=(11, 190, 1),
        fixed=True,
    ),
}


def _reworded(name: str, spec: Relation) -> Relation:
    """With the other ways that train has of saying it."""
    if name not in REWORDINGS:
        return spec
    has = spec.wordings["train"]
    parts = (has.teach, has.direct, has.paraphrase, has.reverse)
    both = Wordings(has.noun, *(old + more for old, more in zip(parts, REWORDINGS[name], strict=True)))
    return replace(spec, wordings={**spec.wordings, "train": both})


_COMMON: dict[str, Relation] = {
    **_PERSON,
    **_FIRM,
    **_PLACE,
    **_PRODUCT,
    **{spec.wordings["train"].noun.replace(" ", "_"): spec for spec in HEARD},
}
RELATIONS: dict[str, Relation] = {
    **{name: _reworded(name, spec) for name, spec in _COMMON.items()},
    **NAMED_RELATIONS,
    **IDIOMS,
    **RARITIES,
}
