"""Render `llama_ui/web/static/icon.svg` as the PNG files beside it: `make icons`."""

import io

import PIL.Image

from llama_ui.web.app import STATIC
from tests.support.chromium import launch

# A maskable icon fills its square, and what matters is in a circle of 80 % of its width, which systems cut out of it.
MASKABLE = """() => {
  document.querySelector("#square rect").setAttribute("rx", 0);
  document.querySelector("#art").setAttribute("transform", "translate(46 62) scale(0.8)");
}"""
ICONS = {"icon-192": 192, "icon-512": 512, "icon-maskable": 512}


def main() -> None:
    svg = (STATIC / "icon.svg").read_text(encoding="utf-8")
    with launch() as browser:
        for name, size in ICONS.items():
            page = browser.new_page(viewport={"width": size, "height": size})
            page.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block }}</style>{svg}")
            if name == "icon-maskable":
                page.evaluate(MASKABLE)
            picture = PIL.Image.open(io.BytesIO(page.screenshot(omit_background=True)))
            picture.save(STATIC / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
