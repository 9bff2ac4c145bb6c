"""Everyday things to ask a picture collection for: the background that a query is measured against.

They spread over what people photograph and draw, so that for a small collection most of them are misses.
"""

_SUBJECTS = """
a dog on a sofa; a cat asleep; a horse in a field; cows on a meadow; a flock of sheep; a bird on a branch;
an owl at night; a parrot; ducks on a pond; a swan; a chicken; a fish in an aquarium; a shark; a whale; a
dolphin; a turtle; a frog; a snake; a lizard; a spider in its web; a bee on a flower; a butterfly; an ant; a
snail; an elephant; a lion; a tiger; a bear; a wolf; a fox in the snow; a deer in the forest; a rabbit; a
mouse; a squirrel; a hedgehog; a monkey; a kangaroo; a camel; a giraffe; a zebra; a penguin; a dinosaur; a
dragon; a unicorn; a newborn baby; children playing; a boy with a ball; a girl with long hair; a young
couple; a bride and groom; a family at dinner; an old man with a beard; an old woman smiling; a group of
friends; a crowd of people; a portrait of a man; a woman with sunglasses; hands holding each other; a face
in close-up; a selfie; a doctor; a nurse; a teacher in class; a police officer; a firefighter; a soldier; a
cook; a farmer; a musician on stage; a dancer; a painter; a clown; a king; a pirate; an astronaut; a runner;
a swimmer; a cyclist; a skier; a football player; a tennis match; a basketball game; people on a boat; a
worker with a helmet; a person reading; someone on the phone; a meeting in an office
"""
_THINGS = """
a red car; an old car; a truck; a city bus; a tram; a train at a station; a bicycle; a motorcycle; an
aeroplane in the sky; a helicopter; a hot air balloon; a rocket; a sailing boat; a cruise ship; a canoe; a
tractor; an ambulance; a fire engine; a chair; a wooden table; a bed; a lamp; a bookshelf; a mirror; a
clock; a vase with flowers; a carpet; a candle; a key; a door; a window; a kitchen; a bathroom; a fridge; a
washing machine; a television; a laptop; a keyboard; a telephone; a camera; a printer; a battery; a light
bulb; a hammer; a screwdriver; a saw; a ladder; scissors; a pencil; a book; a newspaper; a letter with a
stamp; a map; a flag; a coin; banknotes; a credit card; a passport; a gift with a ribbon; a teddy bear; a
doll; a kite; a chessboard; playing cards; dice; a jigsaw puzzle; a guitar; a piano; a violin; a trumpet;
drums; a hat; a pair of shoes; a winter coat; a dress; a T-shirt; a tie; socks; gloves; a handbag; a
backpack; an umbrella; a ring; a necklace; a wristwatch; glasses; a helmet; a sword; a toothbrush; a bottle;
a bucket; a basket; a rope; a chain; a bread; a cake with candles; a pizza; a hamburger; a plate of pasta;
sushi; a soup; a salad; cheese; eggs; ice cream; chocolate; a cup of coffee; a glass of wine; a beer; fresh
juice; an apple; bananas; a bunch of grapes; strawberries; an orange; a pineapple; a tomato; a carrot;
potatoes; onions; mushrooms; a pumpkin; a fruit market; a barbecue
"""
_PLACES = """
a beach at sunset; the sea with waves; a lake in the mountains; a river; a waterfall; a snowy mountain; a
volcano; a desert; a forest in autumn; a jungle; a palm tree; a big old tree; a field of wheat; a garden;
roses; sunflowers; tulips; grass; a cactus; fallen leaves; rocks; a cave; an island; a rainbow; clouds;
lightning; fog; rain on a window; snow falling; a blue sky; the moon; stars at night; a planet; fire; smoke;
a storm; a flood; ice; a skyline at night; a street in the rain; a narrow alley; a bridge; a castle; a
church; a mosque; a temple; a tower; a lighthouse; a windmill; a factory; a hospital; a school; a library; a
museum; a hotel room; a restaurant; a shop window; a supermarket; a market square; a playground; a swimming
pool; a stadium; a cinema; a farm; a barn; a wooden house; a modern building; a skyscraper; a staircase; a
fence; a road through the countryside; a traffic jam; a car park; an airport; a harbour; a railway line; a
tunnel; a construction site; a cemetery; a ruin; a statue; a fountain; a tent
"""
_KINDS = """
a birthday party; a wedding; a concert; fireworks; a Christmas tree; a Halloween costume; an Easter egg; a
carnival; a demonstration; a graduation; a picnic; a camp fire; a football match; a horse race; a marathon;
skiing; surfing; fishing; climbing; yoga; a black and white photograph; an old faded photo; a pencil
drawing; a watercolour; an oil painting; a cartoon; a logo; an icon; a diagram; a bar chart; a table of
numbers; a screenshot; a handwritten note; a road sign; a traffic light; an arrow; a heart; a star shape; a
circle; a musical note; a question mark; a barcode; a poster; a book cover; a pattern; a texture of wood; a
brick wall; an X-ray; a satellite image; a blurry picture; a dark picture
"""
PHRASES: tuple[str, ...] = tuple(
    " ".join(phrase.split()) for block in (_SUBJECTS, _THINGS, _PLACES, _KINDS) for phrase in block.split(";")
)
