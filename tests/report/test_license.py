"""A base model's licence is what its own files tell, or unknown."""

import pytest

from detoxmerge.report.license import license_files, license_of

MIT = "MIT License\n\nCopyright (c) 2019 somebody\n\nPermission is hereby granted"
APACHE = "\n                                 Apache License\n           Version 2.0, January 2004\n"


def card(header):
    return f"---\n{header}\n---\n\n# A model\n\nlicense: not-this-one\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, {"license": "other", "license_name": "unknown", "told_by": None}),
        ({"README.md": card("license: mit")}, {"license": "mit", "told_by": "README.md"}),
        (
            {
                "README.md": card("license: other\nlicense_name: own\nlicense_link: LICENSE.md"),
                "LICENSE.md": MIT,
            },
            {
                "license": "other",
                "license_name": "own",
                "license_link": "LICENSE.md",
                "told_by": "README.md",
            },
        ),
        ({"LICENSE": MIT}, {"license": "mit", "told_by": "LICENSE"}),
        (
            {"README.md": card("language: en"), "license.txt": APACHE},
            {"license": "apache-2.0", "told_by": "license.txt"},
        ),
        ({"README.md": card("a: b: c"), "LICENSE": MIT}, {"license": "mit", "told_by": "LICENSE"}),
        (
            {"LICENSE.txt": "SOME COMMUNITY AGREEMENT\n\nnot the MIT License"},
            {
                "license": "other",
                "license_name": "see-the-license-file",
                "license_link": "LICENSE.txt",
                "told_by": "LICENSE.txt",
            },
        ),
        (
            {"README.md": "license: mit\n", "NOTICE": MIT},
            {"license": "other", "license_name": "unknown", "told_by": None},
        ),
    ],
)
def test_licence_is_that_of_the_card_then_of_the_licence_file(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert license_of(tmp_path) == expected


def test_licence_files_are_found_by_name_alone(tmp_path):
    for name in ("License.txt", "NOTICE", "USE_POLICY.md", "README.md", "license_plates.csv"):
        (tmp_path / name).touch()
    (tmp_path / "LICENSE").mkdir()
    names = [path.name for path in license_files(tmp_path)]
    assert names == ["License.txt", "NOTICE", "USE_POLICY.md"]
