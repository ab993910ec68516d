"""``showcause models channels``: the channels that matter for each class, as CHIP distilled them."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from showcause import render_channels, store
from showcause.client.calls import channels_request
from showcause.commands import connection
from showcause.store import StoreError
from showcause.v1 import service_pb2

HELP = "Show which channels matter for each class, and how far classes share them, where CHIP was distilled."
SHOWN = 5  # channels in a row of the table; --json and --picture have all that were asked for


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of its own; NAME and where to look are ``models.py``'s."""
    parser.add_argument("--layer", default="", help="one that was distilled (the last)")
    parser.add_argument(
        "--label", action="append", default=[], metavar="CLASS", help="may be repeated (all that were distilled)"
    )
    parser.add_argument("--count", type=int, default=0, metavar="N", help="channels of each class (10)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them there, and the classes' overlap (.png)")


def run(options: argparse.Namespace) -> int:
    found = _found(options)
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        render_channels.both(found).save(options.picture, "PNG")
    if options.json:
        as_dict = MessageToDict(found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        print(json.dumps(as_dict, indent=2))
        return 0
    console = Console(width=None if sys.stdout.isatty() else 200, emoji=False, highlight=False)
    console.print(_table(found))
    others = [name for name in found.distilled_layers if name != found.layer]
    if others:
        console.print(f"distilled too: {', '.join(others)}", markup=False)
    if options.picture:
        console.print(f"drawn: {options.picture}", markup=False)
    return 0


def _found(options: argparse.Namespace) -> service_pb2.GetChannelImportanceResponse:
    """From a service, or from a folder of the store; both answer with the same words."""
    wishes = {"layer": options.layer, "classes": options.label, "count": options.count}
    if options.address:
        with connection.client(options) as client:
            return client.channels(options.name, **wishes)
    from showcause.channels import channel_importance, read_distilled  # which a client alone cannot read

    entry = store.find(options.model_store, options.name)
    if entry.manifest is None:
        raise StoreError(entry.problem)
    return channel_importance(channels_request(**wishes), entry.manifest, read_distilled(entry.manifest))


def _table(found: service_pb2.GetChannelImportanceResponse) -> Table:
    table = Table(title=f"layer {found.layer}: channels that matter, strongest first", box=None)
    for heading in ("class", "not 0", "channel (weight)", "shares most with"):
        table.add_column(heading, justify="right" if heading == "not 0" else "left")
    count = len(found.classes)
    shared = np.array(found.overlap).reshape(count, count) - 2 * np.eye(count)  # itself does not count
    for one, row in zip(found.classes, shared, strict=True):
        channels = ", ".join(f"{channel.channel} ({channel.weight:.3g})" for channel in one.channels[:SHOWN])
        best = int(row.argmax())
        most = f"{found.classes[best].class_target.label} ({row[best]:.0%})" if row[best] > 0 else "-"
        rest = f" and {len(one.channels) - SHOWN} more" if len(one.channels) > SHOWN else ""
        about = f"{one.nonzero_count} of {one.channel_count}"
        table.add_row(*(Text(cell) for cell in (one.class_target.label, about, channels + rest, most)))
    return table
