"""The whole way: two people sign in, write on one page, and find it again after a restart."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser


class Running(Protocol):
    url: str

    def start(self) -> None: ...
    def stop(self) -> int: ...


HANAKO = ("hanako@example.com", "Zedi-example-1")
TARO = ("taro@example.com", "Zedi-example-2")


def sign_in(page: Page, url: str, user: tuple[str, str]) -> None:
    """Through the hosted login, as a person does."""
    page.goto(url)
    page.get_by_test_id("sign-in").click()
    submit_login(page, user)
    page.wait_for_url(re.compile(re.escape(url)))


def submit_login(page: Page, user: tuple[str, str]) -> None:
    page.fill("input[name=username]", user[0])
    page.fill("input[name=password]", user[1])
    page.click("button[type=submit]")


def test_two_people_write_on_one_page(
    platform: Running, somebody: Callable[..., Page], screenshots: Path
) -> None:
    """Both see the same text and each other's caret; after a restart the text is there."""
    hanako, taro = somebody(), somebody()
    sign_in(hanako, platform.url, HANAKO)
    hanako.get_by_test_id("new-page").click()
    hanako.get_by_test_id("editor").wait_for()
    hanako.screenshot(path=screenshots / "1-new-page.png")
    address = hanako.url
    hanako.get_by_test_id("title").fill("買い物メモ")
    expect(hanako.get_by_test_id("status")).to_have_attribute("data-state", "saved")

    # Taro was sent the link: he signs in and is where the link leads.
    taro.goto(address)
    taro.get_by_test_id("sign-in").click()
    submit_login(taro, TARO)
    taro.wait_for_url(address)
    expect(taro.get_by_test_id("title")).to_have_value("買い物メモ")

    # At the same time, key by key: Hanako at the beginning, Taro at the end.
    first, second = hanako.get_by_test_id("editor"), taro.get_by_test_id("editor")
    first.click()
    hanako.keyboard.insert_text("花子の段落。")
    hanako.keyboard.press("Enter")
    expect(second).to_contain_text("花子の段落。")
    hanako.keyboard.press("Control+Home")
    second.click()
    taro.keyboard.press("Control+End")
    for mine, yours in zip("今日は牛乳を買う", "ABCDEFGH", strict=True):
        taro.keyboard.insert_text(mine)
        hanako.keyboard.insert_text(yours)
    for editor in (first, second):
        expect(editor).to_contain_text("今日は牛乳を買う")
        expect(editor).to_contain_text("ABCDEFGH花子の段落。")
    assert without_carets(first) == without_carets(second)

    # Each sees the other's name at the other's caret, and who is here.
    expect(hanako.locator('.caret[data-name="太郎"]')).to_have_count(1)
    expect(taro.locator('.caret[data-name="花子"]')).to_have_count(1)
    for page in (hanako, taro):
        expect(page.get_by_test_id("person")).to_have_count(2)
        expect(page.get_by_test_id("status")).to_have_attribute("data-state", "saved")
        colors = {person.get_attribute("style") for person in page.get_by_test_id("person").all()}
        assert len(colors) == 2
    hanako.screenshot(path=screenshots / "2-hanako.png")
    taro.screenshot(path=screenshots / "3-taro.png")
    text = without_carets(first)

    # The platform goes away under their hands, and comes back.
    assert platform.stop() == 0
    expect(hanako.get_by_test_id("status")).to_have_attribute("data-state", "offline")
    first.click()
    hanako.keyboard.press("Control+End")
    hanako.keyboard.insert_text("（オフライン）")
    hanako.screenshot(path=screenshots / "4-offline.png")
    platform.start()
    expect(hanako.get_by_test_id("status")).to_have_attribute("data-state", "saved", timeout=60_000)
    expect(second).to_contain_text("（オフライン）", timeout=60_000)

    # Somebody whose browser has never seen the page gets it from the server alone.
    fresh = somebody(locale="en-GB")
    sign_in(fresh, platform.url, TARO)
    expect(fresh.get_by_test_id("page-item")).to_have_count(1)
    fresh.screenshot(path=screenshots / "5-list.png")
    fresh.get_by_test_id("page-item").get_by_role("link").click()
    expect(fresh.get_by_test_id("title")).to_have_value("買い物メモ")
    expect(fresh.get_by_test_id("editor")).to_contain_text("（オフライン）")
    written = "".join(without_carets(fresh.get_by_test_id("editor")))
    assert written.replace("（オフライン）", "") == "".join(text)
    fresh.screenshot(path=screenshots / "6-after-restart.png")


def without_carets(editor: Locator) -> list[str]:
    """The paragraphs' text, without the names that stand at carets."""
    texts: list[str] = editor.evaluate(
        """editor => {
            const copy = editor.cloneNode(true);
            copy.querySelectorAll('.caret').forEach(caret => caret.remove());
            return [...copy.querySelectorAll('p')].map(p => p.textContent.replaceAll('\\u2060', ''));
        }"""
    )
    return texts


def test_a_wrong_password_is_refused(platform: Running, somebody: Callable[..., Page]) -> None:
    """The hosted login says so, and the right password still leads in."""
    page = somebody()
    page.goto(platform.url)
    page.get_by_test_id("sign-in").click()
    submit_login(page, (HANAKO[0], "wrong"))
    expect(page.locator(".error")).to_be_visible()
    submit_login(page, HANAKO)
    expect(page.get_by_test_id("new-page")).to_be_visible()


def test_a_page_that_does_not_exist_says_so(platform: Running, somebody: Callable[..., Page]) -> None:
    """A mistyped link leads to a sentence, not to an empty page that looks like a loss."""
    page = somebody()
    sign_in(page, platform.url, HANAKO)
    page.get_by_test_id("pages").wait_for()
    page.goto(f"{platform.url}/p/00000000-0000-4000-8000-000000000000")
    expect(page.get_by_role("heading", name="ページが見つかりません")).to_be_visible()
    expect(page.get_by_test_id("editor")).to_have_count(0)
