"""Pages that several commands write: each owns the section under its title and leaves the others as they are."""

from pathlib import Path


def section_of(text: str, title: str) -> str:
    """The section of a page, up to the next of its rank; empty when there is none."""
    if title not in text:
        return ""
    after = text[text.index(title) :]
    end = after.find("\n## ", len(title))
    return after if end < 0 else after[: end + 1]


def with_section(text: str, title: str, section: str) -> str:
    """A page with this section in place of its own, or at its end."""
    old = section_of(text, title)
    section = section.rstrip() + "\n"
    if not old:
        return text.rstrip() + "\n\n" + section
    is_last = text.endswith(old)
    return text.replace(old, section if is_last else section + "\n")


def write_section(page: Path, title: str, section: str) -> None:
    """Write a section, which begins with its title."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    page.write_text(with_section(text, title, section), encoding="utf-8")
