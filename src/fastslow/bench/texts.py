"""Held-out text for judging: never trained on, and no threshold is fitted on it, though one of its questions prompted a
rule (docs/results/recall.md). `fastslow.anchors` has the other kind."""

_GENERAL = """\
Snow had fallen all night, and the village woke to a silence that even the school bell seemed unwilling to break. From
every chimney a thin line of smoke rose straight into a sky the colour of pewter.
---
The octopus has three hearts and blue blood. Two of the hearts pump blood through the gills, and the third sends it
around the body. When the animal swims, the third heart pauses, which is why it prefers to crawl.
---
In 1848 revolutions broke out in more than fifty countries of Europe. Most were put down within a year, but serfdom was
abolished in Austria and Hungary, and Denmark received its first constitution.
---
def fibonacci(n):
    a, b = 0, 1
    while n > 0:
        yield a
        a, b = b, a + b
        n -= 1

print(list(fibonacci(12)))
---
Packing for the mountains: warm socks, a rain jacket, a map on paper, a head torch with fresh batteries, a small
first-aid kit, two bottles of water and more chocolate than you think you need.
---
The committee rejected the proposal by seven votes to four. Opponents said the bridge would bring too much traffic into
the old town, while supporters pointed to the hundreds of people who now take a long detour every day.
---
A good soup starts with patience. Sweat the onions slowly in butter until they are soft and sweet, add the leeks and the
potatoes, cover with stock and let it simmer for half an hour before you blend it.
---
"Show me your hands," said the old watchmaker. The girl held them out. He turned them over, looked at the fingertips and
nodded. "They do not tremble. Come back on Monday, and bring a clean apron."
---
Glaciers form where more snow falls in winter than melts in summer. The weight of the layers presses the snow to ice,
and the ice begins to flow downhill, a few centimetres a day, grinding the rock beneath it to flour.
---
public class Counter {
    private int value = 0;

    public void increment() {
        value += 1;
    }

    public int current() {
        return value;
    }
}
---
Notice to passengers: because of construction work, line 5 ends at Central Station from Friday evening until Sunday
night. Buses will run every ten minutes. Please allow an extra quarter of an hour for your journey.
---
The violin has four strings, tuned in fifths. Its body is made of spruce and maple, and its sound depends so much on the
wood, the varnish and the arching that makers still study instruments built three hundred years ago.
---
Supply and demand meet in the price. If more people want a thing than there is of it, the price goes up until some of
them give up or until someone makes more of it. That is the theory; housing shows how long it can take.
---
The letter was dated the third of March, but it had been posted in June. Between the two dates, thought Inspector Vale,
lay the whole of the case. He put on his hat and asked for the first train north.
---
Tides are caused by the pull of the moon and, more weakly, of the sun. When both pull in the same line, at new and full
moon, the difference between high and low water is largest; these are spring tides.
---
#!/bin/sh
for file in *.jpg; do
  name=$(basename "$file" .jpg)
  convert "$file" -resize 800x600 "small/$name.png"
done
echo "done"
---
How to repot a plant: choose a pot two fingers wider than the old one, put shards over the hole, loosen the roots
carefully, fill up with fresh soil and press it down. Water well and keep out of the sun for a week.
---
The orchestra was founded by railway workers in 1921. They rehearsed in a locomotive shed, where the echo was so long
that they learned to play very short notes, a habit for which they later became famous.
---
Insulin is a hormone made in the pancreas. It lets cells take up sugar from the blood. In type 1 diabetes the cells that
make it have been destroyed, so that it has to be injected; in type 2 the body responds to it less and less.
---
We walked along the canal until the lamps came on. Neither of us mentioned the house. A barge went by with a bicycle on
its roof, and a woman in the stern was peeling apples, one long ribbon after another falling into the water.
---
The election was held on a Sunday, and turnout was the highest in twenty years. No party won a majority, and talks about
a coalition are expected to last well into the autumn.
---
Name, age, city
Ruth, 34, Leeds
Bogdan, 51, Cluj
Amina, 27, Tunis
Kenji, 45, Osaka
Lucia, 38, Lima
---
A lighthouse keeper's day began at dusk. He trimmed the wick, wound the clockwork that turned the lens and climbed the
stairs every four hours to wind it again. Fog meant that the horn had to be sounded as well.
---
The theorem says that every whole number greater than one can be written as a product of primes in exactly one way, if
the order of the factors is ignored. It was known to Euclid and proved with full rigour by Gauss.
---
Volunteers cleaned eleven tonnes of plastic from the beach last weekend. Most was fishing gear. The organisers want
to repeat the action every spring and have asked the harbour to put up a container for old nets.
---
{"order": 1182, "customer": "N. Haddad", "items": [{"sku": "LMP-02", "count": 1}, {"sku": "BLB-60", "count": 4}],
"express": false, "note": "leave with the neighbour"}
---
Bats find their way by echoes. They send out calls far above what humans can hear and listen for what comes back. From
the delay they learn the distance of a moth, from the change in pitch whether it is flying toward them.
---
Grandfather's garden had a rule for everything. Potatoes went in on Saint Joseph's day, beans after the ice saints, and
nobody was allowed to pick the first strawberry but the youngest child.
"""

_CHAT = """\
What is the capital of France?
What is the capital of Japan?
What is the capital of Italy?
Which ocean is the largest?
How many days are there in a week?
What colour do you get when you mix blue and yellow?
Who wrote Hamlet?
What is 8 plus 5?
What gas do humans need to breathe?
How many hours are in a day?
What is the opposite of hot?
Which planet do we live on?
What is frozen water called?
In which country are the pyramids of Giza?
What is the chemical symbol for gold?
Which animal barks?
What is the first month of the year?
What language is spoken in Brazil?
What is the largest mammal?
How many sides does a triangle have?
My phone is very slow. What can I do?
Write a haiku about rain.
How do I make pancakes?
What is the best way to learn new vocabulary?
Explain how a bicycle stays upright.
Suggest a gift for a friend who likes tea.
Write a short story about a lost key.
How can I fall asleep faster?
What is the difference between a comet and an asteroid?
Write a function in Python that checks whether a number is even.
What are the pros and cons of working from home?
How do I grow tomatoes on a balcony?
Give me ideas for a rainy Sunday with children.
What does "break the ice" mean?
How do I politely decline an invitation?
Why is exercise good for the brain?
Describe the taste of chocolate to someone who has never had it.
What should I pack for a trip to Iceland?
How do bees make honey?
Write a slogan for a bicycle shop.
What is the difference between jam and marmalade?
Explain what an algorithm is.
How often should I water a cactus?
Write two sentences about the moon.
"""


def general() -> list[str]:
    """Twenty-eight passages of many kinds."""
    return [passage.strip("\n") for passage in _GENERAL.split("\n---\n")]


def chat() -> list[str]:
    """Forty-four things people ask."""
    return _CHAT.splitlines()
