"""The layers of a chapter: their order, anchors that are fit for links and unlike each other, and the contents list."""

import re

import pytest

from vptlib.report.sections import layers
from vptlib.report.sections.layers import LAYERS, anchor, contents, layer_anchor, layer_heading, layer_titles
from vptlib.report.words import speaking
from vptlib.study.study import Study

PLACES = ("folder:/a/my cells", "folder:/b/my cells", "table:/data/部品.csv", "folder:/data/خلايا", "digits")


def test_anchors_have_no_blank_no_path_and_are_unlike_each_other():
    found = [layer_anchor(place, layer) for place in PLACES for layer in LAYERS]
    assert len(set(found)) == len(PLACES) * len(LAYERS)
    assert not any(re.search(r"[\s/:#%\"<>&]", one) for one in found)
    assert anchor("digits") == "digits" and anchor(PLACES[0]).startswith("my-cells-")


def test_the_anchor_of_a_task_is_the_same_in_each_notebook():
    assert anchor(PLACES[0]) == anchor(PLACES[0]) != anchor(PLACES[1])


def test_findings_come_first_and_what_was_not_done_last():
    assert LAYERS[0] == layers.FINDINGS and LAYERS[-1] == layers.NOT_DONE
    assert tuple(layer_titles()) == LAYERS and len(set(layer_titles().values())) == len(LAYERS)


def test_the_contents_lead_to_every_layer_of_every_task():
    html = contents([Study("digits"), Study("dsprites-location")]).data
    assert '<nav class="contents" aria-label="Contents">' in html
    links = re.findall(r'href="#([^"]+)"', html)
    wanted = [layer_anchor(task, layer) for task in ("digits", "dsprites-location") for layer in LAYERS]
    assert [link for link in links if link in wanted] == wanted
    assert layers.WORDS_USED in links and layers.AGAIN in links and layers.PRETRAINING not in links
    assert layers.PRETRAINING in contents([Study("digits")], placed=True).data


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_heading_is_of_the_third_level_and_has_the_anchor_that_the_contents_link_to(language):
    with speaking(language):
        html = layer_heading("digits", layers.MONEY).data
        assert html.strip() == f'<h3 id="digits-money">{layer_titles()[layers.MONEY]}</h3>'
