"""The gallery page, as a person uses it, in Debian's Chromium."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from tests.support.browser import MISSING, find, is_required
from tests.support.files import encoded
from tests.support.processes import PATIENCE_S
from tests.support.server import COLOURS

pytestmark = pytest.mark.slow

expect.set_options(timeout=1000 * PATIENCE_S)


def is_ours(message: ConsoleMessage) -> bool:
    """An error of the page; not the browser's note of a refusal, which the page itself shows."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find()
    if path is None and not is_required():
        pytest.skip(MISSING)
    assert path, MISSING
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, client: httpx.Client) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if is_ours(message) else None)
    page.goto(str(client.base_url))
    yield page
    page.context.close()
    assert errors == []


def shown(page: Page) -> list[int]:
    return [int(card.get_attribute("data-id") or 0) for card in page.locator(".hit").all()]


def ids(client: httpx.Client, path: str, body: dict[str, object]) -> list[int]:
    return [hit["id"] for hit in client.post(path, json={"limit": 40} | body).json()["hits"]]


def test_a_person_searches_drops_a_picture_and_follows_their_taste(page: Page, client: httpx.Client) -> None:
    expect(page.locator(".hit")).to_have_count(20)
    assert shown(page) == ids(client, "/rank?axis=aesthetics", {})
    natural = page.locator(".hit img").first.evaluate(
        "async image => { await image.decode(); return image.naturalWidth }"
    )
    assert natural > 0

    page.get_by_role("searchbox").fill("a red card")
    page.get_by_role("button", name="Search", exact=True).click()
    expected = ids(client, "/search", {"query": "a red card"})
    expect(page.locator(".hit").first).to_have_attribute("data-id", str(expected[0]))
    assert shown(page) == expected
    assert page.url.endswith("?q=a+red+card")

    page.get_by_label("Weight of Aesthetics").fill("2")
    expected = ids(client, "/search", {"query": "a red card", "axes": {"aesthetics": 2}})
    expect(page.locator(".hit").first).to_have_attribute("data-id", str(expected[0]))
    page.wait_for_url("**axis=aesthetics%3D2")
    with page.expect_request("**/feedback") as told:
        page.locator(".hit .open").first.click()
    assert told.value.post_data_json == {"query": "a red card", "image": shown(page)[0], "action": "click"}
    expect(page.locator(".hit mark").first).to_have_text("red")
    expect(page.locator("dialog .why b")).to_have_text(["query", "words", "aesthetics"])
    first = shown(page)[0]
    page.get_by_role("dialog").get_by_role("button", name="More like this").click()
    expected = ids(client, "/search", {"query": [{"id": first}], "axes": {"aesthetics": 2}})
    expect(page.locator(".hit").first).to_have_attribute("data-id", str(expected[0]))
    assert first not in shown(page)

    page.get_by_role("button", name="Reset taste").click()
    red = encoded(Image.new("RGB", (120, 90), COLOURS["red"]))
    page.evaluate(
        """base64 => {
            const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "red.png", { type: "image/png" }));
            window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
        }""",
        base64.b64encode(red).decode(),
    )
    own = next(
        hit["id"]
        for hit in client.post("/search", json={"query": "a", "limit": 40}).json()["hits"]
        if hit["uri"].endswith("/red.png")
    )
    expect(page.locator(".hit").first).to_have_attribute("data-id", str(own))
    expect(page.locator("#parts img")).to_have_count(1)


def test_an_order_can_be_chosen_and_shared(page: Page, client: httpx.Client) -> None:
    page.get_by_label("Order of the results").select_option("recency asc")
    expected = ids(client, "/rank?axis=recency", {"order": "asc"})
    expect(page.locator(".hit").first).to_have_attribute("data-id", str(expected[0]))
    page.reload()
    expect(page.locator(".hit")).to_have_count(20)
    assert shown(page) == expected


def test_a_range_of_an_axis_keeps_only_its_share(page: Page, client: httpx.Client) -> None:
    page.get_by_label("Range of Aesthetics").click()
    expect(page.locator(".bars i")).to_have_count(40)
    page.get_by_label("Lowest percentile of Aesthetics").fill("50")
    expect(page.locator(".hit")).to_have_count(10)
    assert shown(page) == ids(client, "/rank?axis=aesthetics", {})[:10]
    page.reload()
    expect(page.locator(".hit")).to_have_count(10)
    page.get_by_role("button", name="Reset taste").click()
    expect(page.locator(".hit")).to_have_count(20)


def test_an_axis_is_taught_with_examples_and_then_sorts(page: Page, client: httpx.Client) -> None:
    expect(page.locator(".hit")).to_have_count(20)
    before = shown(page)
    page.get_by_role("button", name="Teach an axis").click()
    teach = page.get_by_role("button", name="Teach", exact=True)
    expect(teach).to_be_disabled()
    for place in range(3):
        page.locator(".hit").nth(place).get_by_label("Example with little of it").click()
        page.locator(".hit").nth(19 - place).get_by_label("Example with much of it").click()
    page.get_by_label("Name of the axis").fill("Our kind")
    teach.click()
    slider = page.get_by_label("Weight of Our kind")
    expect(slider).to_have_value("1.5")
    axis = client.get("/axes/our_kind").json()
    assert axis["inputs"] == {"high": before[:-4:-1], "low": before[:3]}
    page.wait_for_url("**axis=our_kind%3D1.5")
    assert shown(page) == ids(client, "/search", {"axes": {"our_kind": 1.5}})
    client.delete("/axes/our_kind")


def test_hits_can_be_had_without_duplicates_and_rephrased(page: Page, client: httpx.Client) -> None:
    page.get_by_role("searchbox").fill("a red card")
    page.get_by_label("No duplicates").check()
    page.get_by_label("Diverse").check()
    page.wait_for_url("**wish=unique&wish=diverse")
    wished = {"query": "a red card", "deduplicate": True, "diversify": {"method": "mmr"}}
    expected = ids(client, "/search", wished)
    expect(page.locator(".hit")).to_have_count(len(expected))
    expect(page.locator(".hit").last).to_have_attribute("data-id", str(expected[-1]))
    assert shown(page) == expected
    page.get_by_label("Rephrase").check()
    expect(page.locator("#notes")).to_contain_text("Not rephrased: there is no language model")


def test_words_that_are_still_typed_start_no_model(page: Page) -> None:
    def searched(act: Callable[[], None]) -> dict[str, Any]:
        with page.expect_request("**/search") as asked:
            act()
        return dict(asked.value.post_data_json or {})

    page.clock.install(time=0)
    page.reload()
    page.get_by_label("Make what is missing").check()
    page.clock.pause_at(60_000)
    words = page.get_by_role("searchbox")
    for typed in ("a red ca", "a red card"):
        words.fill(typed)
        draft = searched(lambda: page.clock.run_for(1_000))
        assert draft["query"] == [{"text": typed}]
        assert "generate_if_no_match" not in draft
    settled = searched(lambda: page.clock.run_for(1_000))
    assert settled["query"] == [{"text": "a red card"}]
    assert settled["generate_if_no_match"] is True
    words.fill("a blue card")
    assert searched(lambda: words.press("Enter"))["generate_if_no_match"] is True


def test_the_answer_says_below_which_probability_perhaps_nothing_fits(page: Page) -> None:
    def doubtful(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        body["match_probability"], body["match"]["threshold"] = 0.2, threshold
        route.fulfill(response=response, json=body)

    page.route("**/search", doubtful)
    words, note = page.get_by_role("searchbox"), page.get_by_text("Perhaps nothing here fits (20 %).")
    for threshold, text in ((0.3, "a red card"), (0.1, "a blue card")):
        words.fill(text)
        with page.expect_response("**/search"):
            words.press("Enter")
        expect(note).to_have_count(int(threshold > 0.2))


def test_the_plane_places_pictures_by_two_axes(page: Page, client: httpx.Client) -> None:
    page.get_by_role("button", name="Plane", exact=True).click()
    page.get_by_label("Axis from left to right").select_option("aesthetics")
    page.get_by_label("Axis from bottom to top").select_option("recency_visual")
    expect(page.locator(".point")).to_have_count(20)
    places = {
        int(point.get_attribute("data-id") or 0): float(
            point.evaluate("point => point.style.left").removesuffix("%")
        )
        for point in page.locator(".point").all()
    }
    order = ids(client, "/rank?axis=aesthetics", {})
    assert [places[i] for i in order] == sorted(places.values(), reverse=True)
    page.locator(".point").last.click()  # it lies above those that share its place
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_made_picture_says_so(page: Page, client: httpx.Client) -> None:
    expect(page.locator(".hit")).to_have_count(20)
    expect(page.locator(".hit .made")).to_have_count(0)
    marked = client.get("/images", params={"limit": 1}).json()["images"][0]["id"]
    client.patch(f"/images/{marked}", json={"metadata": {"generated": True}})
    page.reload()
    expect(page.locator(".hit .made")).to_have_text("generated")
    expect(page.locator(f'.hit[data-id="{marked}"] .made')).to_be_visible()
    client.patch(f"/images/{marked}", json={"metadata": {"generated": None}})


def test_what_goes_wrong_is_said(page: Page) -> None:
    expect(page.locator(".hit")).to_have_count(20)
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.locator("#status")).to_have_class("error")
    expect(page.locator("#status")).to_contain_text("picture")
