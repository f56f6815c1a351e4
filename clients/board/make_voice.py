"""Make the board's recorded words: clients/board/voice/{zh,en}/*.ogg.

    python clients/board/make_voice.py        (needs espeak-ng and sox)

The clips are used where a browser has no voice of its own. They are made
offline by espeak-ng, trimmed, levelled and packed as Ogg Vorbis (which every
Chromium, Firefox and Safari from 18.4 plays) by sox. To use a person's voice,
record the same words under the same names and run clients/build.py.

espeak-ng 1.51 as packaged reads Chinese characters as "Chinese letter", so the
Mandarin words are given as Pinyin with tone numbers.
"""

import subprocess
import tempfile
from pathlib import Path

VOICE = Path(__file__).resolve().parent / "voice"
MANDARIN = {
    "please": "qing3",
    "0": "ling2",
    "1": "yi1",
    "2": "er4",
    "3": "san1",
    "4": "si4",
    "5": "wu3",
    "6": "liu4",
    "7": "qi1",
    "8": "ba1",
    "9": "jiu3",
    "number": "hao4",
    "collect": "qu3 can1",
}
ENGLISH = {
    "number": "number",
    "0": "zero",
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
    "collect": "please collect",
}
# language -> (espeak-ng voice, words a minute, words)
LANGUAGES = {
    "zh": ("cmn-latn-pinyin", 128, MANDARIN),
    "en": ("en-gb", 135, ENGLISH),
}
# Silence before and after a word is cut, so that the page alone decides the rhythm;
# the cut edges are faded, so that they do not click.
SILENCE = ["silence", "1", "0.01", "0.6%"]
TRIM = [*SILENCE, "fade", "t", "0.006", "reverse", *SILENCE, "fade", "t", "0.02", "reverse"]
COMPRESS = ["compand", "0.01,0.1", "-40,-32,-20,-12,0,-4"]
LEVEL = ["highpass", "90", "gain", "-n", "-6", *COMPRESS, "gain", "-n", "-1.5"]


def main() -> None:
    for language, (voice, pace, words) in LANGUAGES.items():
        (VOICE / language).mkdir(parents=True, exist_ok=True)
        for name, text in words.items():
            record(text, voice, pace, VOICE / language / f"{name}.ogg")
    size = sum(clip.stat().st_size for clip in VOICE.rglob("*.ogg"))
    print(f"{size / 1024:.0f} KB in {VOICE}")


def record(text: str, voice: str, pace: int, clip: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.wav"
        subprocess.run(
            ["espeak-ng", "-v", voice, "-s", str(pace), "-p", "42", "-w", str(raw), text],
            check=True,
        )
        packed = ["-C", "2", "-c", "1", "-r", "22050", str(clip)]
        subprocess.run(["sox", str(raw), *packed, *TRIM, *LEVEL], check=True)


if __name__ == "__main__":
    main()
