"""Invented names and value pools, one disjoint stock per split.

A word opens with an onset (one consonant cluster) followed by a vowel, and no onset belongs to two splits. The first
cluster of a word therefore tells its split, so that no word of one split can ever be made in another.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Literal, get_args

Split = Literal["train", "tune", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

ONSETS: dict[Split, tuple[str, ...]] = {
    "train": ("b", "d", "g", "l", "br", "gr", "pr", "st", "sk"),
    "tune": ("h", "n", "p", "s", "kr", "tr", "bl", "fl", "sn"),
    "test": ("m", "r", "t", "v", "k", "dr", "vl", "w", "z"),
}
CODAS: dict[Split, tuple[str, ...]] = {
    "train": ("n", "rd", "sk", "lm", "s", "th"),
    "tune": ("r", "nd", "st", "rk", "lt", "m"),
    "test": ("l", "lk", "rn", "sh", "ss", "v"),
}
VOWELS = ("a", "e", "i", "o", "u")

FIRM_WORDS: dict[Split, tuple[str, ...]] = {
    "train": ("Works", "Mills", "Guild", "Company", "Brothers", "Foundry"),
    "tune": ("Partners", "Union", "Workshop", "House", "Trust"),
    "test": ("Institute", "Traders", "Bureau", "Society", "Cooperative"),
}
PRODUCT_WORDS: dict[Split, tuple[str, ...]] = {
    "train": ("lantern", "kettle", "clock", "stool", "compass", "whistle"),
    "tune": ("bell", "tray", "barometer", "ladder", "bench"),
    "test": ("lamp", "press", "globe", "scale", "trunk"),
}

_PLAIN: dict[str, str] = {
    "occupation": "glazier,surveyor,baker,archivist,botanist,cooper,printer,weaver,notary,falconer,potter,dentist,"
    "gardener,astronomer,tailor,locksmith,miller,translator,beekeeper,jeweller,sculptor,ferryman,chemist,saddler,"
    "librarian,plumber,cartographer,optician,mason,brewer",
    "dish": "barley soup,plum dumplings,smoked eel,leek pie,lentil stew,roast goose,pickled herring,chestnut cake,"
    "onion tart,poppy noodles,mushroom broth,rye pancakes,braised cabbage,almond pudding,beetroot salad,lamb skewers,"
    "honey bread,pea porridge,baked trout,cheese fritters,quince jam,stuffed peppers,walnut rolls,carrot curry",
    "animal": "heron,badger,tortoise,magpie,otter,weasel,stork,hedgehog,raven,lynx,goat,salamander,ferret,pelican,"
    "donkey,owl,marten,parrot,beaver,crane,hare,iguana,swan,mole",
    "instrument": "cello,oboe,zither,trumpet,harp,accordion,bassoon,mandolin,flute,viola,banjo,clarinet,organ,lute,"
    "tuba,harmonica,dulcimer,piccolo",
    "colour": "ochre,crimson,teal,ivory,violet,maroon,turquoise,amber,indigo,scarlet,olive,lilac,beige,magenta,cobalt,"
    "salmon,khaki,silver",
    "material": "walnut,pewter,slate,brass,bamboo,porcelain,copper,ebony,linen,granite,leather,tin,marble,cork,steel,"
    "oak,glass,felt,bronze,maple,clay,zinc,pine,wool",
    "ware": "ropes,buttons,candles,tiles,barrels,brushes,gloves,bricks,needles,saddles,mirrors,umbrellas,wagons,"
    "carpets,hinges,baskets,pipes,sails",
    "tree": "linden,rowan,juniper,cypress,alder,hawthorn,larch,mulberry,poplar,elder,chestnut,birch,willow,hornbeam,"
    "spruce,aspen,sycamore,yew",
}
# What the train split alone has: more of the same, and kinds that nobody else asks about.
_HEARD: dict[str, str] = {
    "occupation": "shepherd,barber,nurse,welder,judge's clerk,piano tuner,roofer,diver,florist,cobbler,pilot,tanner,"
    "bookbinder,lifeguard,postman,stonecutter,clown,midwife,tram driver,hatter",
    "dish": "goulash,fish balls,pumpkin risotto,garlic snails,apple strudel,bean pie,duck breast,corn bread,"
    "rice pudding,turnip mash,crab salad,pork knuckle,spinach omelette,tomato broth,venison stew,fig tart,waffles,"
    "kidney toast",
    "animal": "fox,wolf,camel,peacock,toad,squirrel,walrus,ostrich,moose,bat,gecko,buffalo,robin,panther,zebra,"
    "seal,duck,spider,turkey",
    "instrument": "drum,piano,bagpipe,xylophone,trombone,guitar,recorder,sitar,bugle,triangle,ukulele,cymbal",
    "colour": "black,white,pink,orange,purple,yellow,brown,grey,navy,lime,cream,golden",
    "material": "silk,iron,gold,plastic,concrete,paper,straw,velvet,wax,rubber,sandstone,jade,aluminium",
    "ware": "lamps,ladders,kettles,knives,ribbons,toys,boots,locks,bottles,chairs,clocks,hats,spoons,tents,nails,rugs,"
    "combs,pencils",
    "tree": "beech,fir,palm,cedar,ash,cherry,apple,plane,lime,acacia",
    "language": "Latin,Welsh,Basque,Finnish,Tamil,Greek,Danish,Hausa,Turkish,Irish,Hindi,Czech,Swahili,Frisian",
    "sport": "tennis,rugby,hockey,cricket,badminton,handball,golf,polo,curling,volleyball,squash,baseball,judo",
    "drink": "green tea,cider,lemonade,black coffee,buttermilk,ginger ale,cocoa,tomato juice,mead,mint tea,"
    "red wine,rum",
    "flower": "tulips,roses,lilies,dahlias,orchids,asters,violets,peonies,daisies,poppies,carnations,snowdrops",
    "gem": "ruby,opal,topaz,garnet,pearl,diamond,agate,sapphire,emerald,onyx,amethyst",
    "vehicle": "tricycle,scooter,motorbike,tractor,sledge,canoe,taxi,bicycle,van,horse cart,tandem",
    "game": "chess,dominoes,whist,checkers,bingo,backgammon,poker,bridge,ludo,mahjong,darts",
    "spice": "cumin,pepper,saffron,ginger,paprika,nutmeg,cinnamon,turmeric,thyme,cloves,mustard",
    "shape": "star,cube,crescent,ring,cross,heart,pyramid,spiral,triangle,egg,key,anchor",
    "plant": "cactus,fern,rubber tree,ivy,lemon tree,bonsai,hibiscus,date palm,aloe,geranium",
    "weather": "fog,hail,drizzle,sunshine,thunder,snow,frost,strong wind,sleet,haze,heavy rain",
    "fruit": "cherries,apricots,grapes,melons,figs,pears,lemons,gooseberries,plums,bananas,peaches,apples",
    "dance": "waltz,polka,tango,jig,mazurka,foxtrot,rumba,reel,samba,minuet",
    "tool": "hammer,chisel,pair of pliers,saw,crowbar,hook,screwdriver,spanner,needle,file,corkscrew",
    "fabric": "cotton,tweed,canvas,denim,satin,fleece,jute,lace,muslin,hemp",
}
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def plain_values(value_kind: str, split: Split) -> list[str]:
    """The third of a plain pool (colours, dishes, ...) that belongs to `split`, and for train what it alone has; raises
    KeyError for other kinds."""
    heard = _HEARD[value_kind].split(",") if split == "train" and value_kind in _HEARD else []
    return (_PLAIN[value_kind].split(",")[SPLITS.index(split) :: len(SPLITS)] if value_kind in _PLAIN else []) + heard


class Namer:
    """Hands out names of one split, every word new within the namer except first names, which people may share."""

    def __init__(self, rng: Random, split: Split) -> None:
        self._rng, self._split = rng, split
        self._words = self._unique_words()
        self._first = [next(self._words) for _ in range(24)]

    def _unique_words(self) -> Iterator[str]:
        seen: set[str] = set()
        while True:
            word = self._word()
            if word not in seen:
                seen.add(word)
                yield word

    def _word(self) -> str:
        rng, onsets, codas = self._rng, ONSETS[self._split], CODAS[self._split]
        light = [onset for onset in onsets if len(onset) == 1]  # clusters only at the front, so that it can be said
        syllables = [rng.choice(onsets) + rng.choice(VOWELS)]
        syllables += [rng.choice(light) + rng.choice(VOWELS) for _ in range(rng.choice((1, 1, 1, 2)))]
        return ("".join(syllables) + rng.choice((*codas, ""))).capitalize()

    def name(self, kind: str) -> str:
        """A new name for a person, firm, product, or (one word) anything else."""
        word = next(self._words)
        if kind == "person":
            return f"{self._rng.choice(self._first)} {word}"
        if kind == "firm":
            second = f" {next(self._words)}" if self._rng.random() < 0.2 else ""
            return f"{word}{second} {self._rng.choice(FIRM_WORDS[self._split])}"
        if kind == "product":
            return f"the {word} {self._rng.choice(PRODUCT_WORDS[self._split])}"
        return word
