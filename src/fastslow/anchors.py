"""Anchors: ordinary text and ordinary questions on which a memory should change nothing.

`sleep` holds the core still on them (KL), gates learn from them what is unrelated, and probes measure on them. Judging
uses other texts: `fastslow.bench.texts`.
"""

_GENERAL = """\
The kettle had just begun to sing when the doorbell rang. Martha wiped her hands on her apron and went to see who it
was. Nobody stood on the step, but a small parcel in brown paper lay on the mat, tied with a piece of green string.
---
Bread needs only flour, water, salt and yeast. Mix them until no dry flour is left, cover the bowl and let the dough
rest for an hour. Fold it over itself a few times, shape it, let it rise again and bake it in a very hot oven.
---
Plants make sugar from water and carbon dioxide with the energy of sunlight. The green pigment chlorophyll takes up red
and blue light, and oxygen is set free as a by-product. Almost all life on land depends on this reaction.
---
In the spring of 1789 the king of France called the Estates General to Versailles, because the treasury was empty.
Within weeks the delegates of the third estate declared themselves a national assembly and swore not to part.
---
def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)

print(mean([3, 4, 8]))
---
Shopping list:
- two litres of milk
- a dozen eggs
- brown rice
- washing powder
- something nice for Friday evening
---
The heart of an adult beats about seventy times a minute at rest. Blood leaves it through the aorta, passes through ever
smaller arteries into the capillaries, and comes back through the veins to the right atrium.
---
"You cannot be serious," said the captain, and put down his glass. "There is no island there. I have sailed these
waters for thirty years." The boy only pointed at the chart, where someone had drawn a tiny cross in red ink.
---
Interest rates rose again this week as the central bank tried to slow inflation. Analysts expect mortgage payments to
go up by a tenth before the summer, while savers will see slightly better returns on their deposits.
---
SELECT customers.name, COUNT(orders.id) AS placed
FROM customers LEFT JOIN orders ON orders.customer_id = customers.id
WHERE customers.country = 'Norway'
GROUP BY customers.name
ORDER BY placed DESC;
---
Dear neighbours, the water will be turned off on Tuesday between nine in the morning and noon, because a pipe in the
cellar has to be replaced. Please fill a bucket beforehand. We are sorry for the trouble. The house management.
---
Light travels at about three hundred thousand kilometres per second. It needs a little more than eight minutes from the
sun to the earth, and more than four years from the nearest other star.
---
The home team took the lead in the twelfth minute with a header after a corner, but the visitors equalised before half
time. In the second half both sides missed good chances, and the match ended in a draw.
---
function greet(name) {
  const hour = new Date().getHours();
  const part = hour < 12 ? "morning" : "day";
  return `Good ${part}, ${name}!`;
}
---
Rivers carry sand and mud to the sea. Where the current slows, the load sinks to the bottom and builds a delta, whose
soil is so fertile that people have farmed there for thousands of years in spite of the floods.
---
Old Tomas had kept bees since he was a boy. He never wore gloves. "They know when you are afraid," he used to say, "and
they know when you are in a hurry. Move as if you had the whole afternoon, and they will let you be."
---
To change a bicycle tyre, take off the wheel, let out the air and lift one side of the tyre over the rim with levers.
Pull out the tube, look for the hole under water, roughen the spot, put on glue, wait, and press the patch on.
---
The Roman army was organised in legions of about five thousand men. Each legion had ten cohorts, and each cohort six
centuries, which were led by a centurion who had usually risen from the ranks.
---
Minutes of the meeting: present were Anna, Piotr and Ms Okafor. The budget for the festival was approved with one vote
against. Piotr will ask the town for tables. The next meeting is on the ninth at seven in the evening.
---
A triangle whose sides are three, four and five units long has a right angle, because nine plus sixteen is twenty-five.
Builders have used a rope with twelve knots at equal distances to lay out square corners since ancient times.
---
<html>
  <head><title>My garden</title></head>
  <body>
    <h1>What grows here</h1>
    <ul><li>Beans</li><li>Roses</li><li>One old pear tree</li></ul>
  </body>
</html>
---
The moon was up, and the road lay white between the hedges. Far off a dog barked twice and fell silent. Elena counted
her steps to keep from thinking about the letter in her pocket and about what she would have to say.
---
Vaccines train the immune system with a harmless form or piece of a germ. When the real germ arrives later, memory cells
recognise it at once and make antibodies before it can spread through the body.
---
The company reported sales of four hundred million for the quarter, up six percent on the year before. Its shares fell
nevertheless, because the forecast for the holiday season was lower than investors had hoped.
---
How to wash wool: use lukewarm water and a mild soap. Do not rub or wring. Press the water out in a towel, pull the
garment into shape and dry it flat, away from the sun and from radiators.
---
Jazz grew up in New Orleans around 1900, where brass bands, blues and ragtime met. Its players improvise: they make up
melodies on the spot over chords that everybody in the band knows.
---
#include <stdio.h>

int main(void) {
    for (int i = 1; i <= 10; i++) {
        printf("%d squared is %d\n", i, i * i);
    }
    return 0;
}
---
My grandmother wrote her recipes on the backs of envelopes. Half have no quantities. "Flour as much as it takes",
she would say, and her hands knew how much that was. Mine are still learning.
---
Earthquakes happen where plates of the earth's crust slide past each other. Tension builds up over decades and is
released within seconds. The point on the surface above the break is called the epicentre.
---
The parliament has two chambers. The lower house is elected every four years and passes the budget; the upper house
represents the provinces and can delay a law, but not stop it for good.
---
Today's weather: fog in the valleys until the late morning, then sunny with a light wind from the west. Highs between
eleven and fifteen degrees. Tomorrow clouds and some rain in the north.
---
"Mum, why is the sky blue?" asked Leo. She thought for a while. "Because the air scatters blue light more than red
light, so blue comes to us from all sides." Leo looked up. "And who taught the air to do that?"
---
The museum opens every day except Monday from ten to six. Tickets cost twelve euros, for students seven. Large bags must
be left in the lockers. Photographs without flash are allowed in all rooms but the last.
---
import pandas as pd

sales = pd.read_csv("sales.csv", parse_dates=["day"])
monthly = sales.groupby(sales["day"].dt.month)["amount"].sum()
print(monthly.sort_values(ascending=False).head(3))
---
Whales are mammals that returned to the sea about fifty million years ago. They breathe air, feed their young with milk
and still have small bones where their ancestors had hind legs.
---
Chess is played on a board of sixty-four squares. Each player begins with sixteen pieces. The aim is to attack the
opponent's king so that it cannot escape; this is called checkmate.
---
The train stood still between two stations for forty minutes. At first nobody spoke. Then a man offered his biscuits, a
girl showed a card trick, and when we moved on at last, someone said it was almost a pity.
---
A contract is an agreement that the law will enforce. It needs an offer, an acceptance and, in many countries, something
of value given by both sides. It need not be written down, but writing helps when people remember differently.
---
Steps to restart the router:
1. Unplug the power cable.
2. Wait for thirty seconds.
3. Plug it in again and wait until the green light stops blinking.
4. Connect to the network with the password on the back.
---
The desert is not empty. At night foxes come out of their holes, beetles collect the dew on their backs, and after one
rain in the year seeds that have waited in the sand for a decade flower within a week.
"""

_CHAT = """\
What should I cook tonight with rice, eggs and spinach?
Can you explain how a rainbow forms?
Write a short poem about autumn leaves.
What is the capital of Portugal?
How do I remove a coffee stain from a white shirt?
Tell me a joke about elephants.
What is the difference between a virus and a bacterium?
Give me three tips for a job interview.
Who painted the Mona Lisa?
Summarise the plot of Romeo and Juliet in two sentences.
How many legs does a spider have?
Write a function in JavaScript that reverses a string.
I feel tired all the time. What could help?
What is 17 times 6?
Translate "good morning" into Spanish.
Why do cats purr?
Suggest a name for a small bakery.
How does a refrigerator work?
Plan a weekend trip to a city by the sea.
What is photosynthesis?
Write an email to my landlord about a broken heater.
Which planet is the largest in our solar system?
How can I learn to play the guitar?
List five healthy snacks.
What caused the First World War?
Explain inflation to a ten-year-old.
What is the boiling point of water at sea level?
Give me a riddle.
How do airplanes stay in the air?
Write a Python program that adds two numbers.
What are the benefits of walking every day?
Who wrote Don Quixote?
How do I tie a tie?
Describe a sunset over the mountains.
What is the square root of 81?
How can I save money each month?
What does a project manager do?
Name three rivers in Africa.
What is a metaphor? Give an example.
Help me write a birthday card for my sister.
How long does it take to boil an egg?
What is the speed of sound?
Should I learn French or Italian first?
How do vaccines protect us?
Write the opening line of a mystery novel.
What are the primary colours?
How can I make my garden attract butterflies?
What is the meaning of the word "serendipity"?
Who was Cleopatra?
Convert 10 kilometres to miles.
How do I prepare for a marathon?
What is machine learning?
Give me a synonym for "happy".
Why is the sea salty?
What should I see in Rome in one day?
How do I write a good summary of a book?
What is the freezing point of water in Fahrenheit?
Tell me a fun fact about octopuses.
How do I apologise to a friend?
What is the difference between weather and climate?
"""


def general() -> list[str]:
    """Forty short passages of many kinds: everyday life, science, history, fiction, code, lists."""
    return [passage.strip("\n") for passage in _GENERAL.split("\n---\n")]


def chat() -> list[str]:
    """Sixty things people ask, each to be sent through the core's chat template."""
    return _CHAT.splitlines()
