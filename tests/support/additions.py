"""Everyday queries with what a good writer would add to them, written by hand: detail and k_list."""

ADDITIONS = {
    "red bicycle": {
        "detail": (
            "A bright red vintage bicycle leaning against a sunlit brick wall, warm afternoon"
            " light and soft shadows"
        ),
        "k_list": "red bicycle, vintage frame, cobbled street, morning light, shallow depth of field",
    },
    "mountain lake": {
        "detail": (
            "A still turquoise lake below snowy peaks at dawn, mist over the water and crisp reflections"
        ),
        "k_list": "alpine lake, snow-capped peaks, mirror reflection, dawn mist, wide angle",
    },
    "cat": {
        "detail": (
            "A fluffy cat curled up on a windowsill, soft daylight on its fur and a blurred garden behind"
        ),
        "k_list": "fluffy cat, green eyes, windowsill, soft daylight, close-up",
    },
    "wedding": {
        "detail": (
            "A bride and groom laughing under falling petals in golden evening light, joyful "
            "guests around them"
        ),
        "k_list": "bride and groom, white dress, flower petals, golden hour, candid",
    },
    "coffee": {
        "detail": "A steaming cup of coffee with latte art on a dark wooden table, warm window light",
        "k_list": "coffee cup, latte art, steam, wooden table, warm light",
    },
    "old man": {
        "detail": (
            "A weathered old man with deep wrinkles and kind eyes, dramatic side light on a dark background"
        ),
        "k_list": "elderly man, wrinkled face, white beard, dramatic light, portrait",
    },
    "city at night": {
        "detail": (
            "Skyscrapers glowing with neon above wet streets at night, long light trails of passing cars"
        ),
        "k_list": "city skyline, neon lights, wet streets, light trails, long exposure",
    },
    "birthday cake": {
        "detail": (
            "A layered birthday cake with lit candles and colourful icing, friends blurred "
            "behind the warm glow"
        ),
        "k_list": "birthday cake, lit candles, colourful icing, party, warm glow",
    },
    "horse running": {
        "detail": (
            "A chestnut horse galloping through a dusty field at sunset, its mane flying in backlight"
        ),
        "k_list": "galloping horse, flying mane, dust, sunset backlight, motion blur",
    },
    "kitchen": {
        "detail": (
            "A bright modern kitchen with marble counters, hanging copper pans and morning "
            "sun through the window"
        ),
        "k_list": "modern kitchen, marble counter, copper pans, morning sun, clean lines",
    },
    "snow": {
        "detail": (
            "Fresh snow covering pine branches in a silent forest, blue shadows and soft winter light"
        ),
        "k_list": "fresh snow, pine forest, winter light, blue shadows, silence",
    },
    "football": {
        "detail": (
            "Players fighting for a football on a wet pitch under stadium floodlights, "
            "splashing water in the air"
        ),
        "k_list": "football players, stadium, floodlights, wet pitch, action shot",
    },
}
