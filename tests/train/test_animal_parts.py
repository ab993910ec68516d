"""Part annotations read from a data folder."""

import numpy as np
import pytest

from showcause.train.animal_parts import read_parts

HEADER = "file,split,category,box_x0,box_y0,box_x1,box_y1,head_y,head_x,head_h,head_w,legs_y,legs_x,legs_h,legs_w"


def write(folder, *rows: str, header: str = HEADER) -> None:
    (folder / "crops.csv").write_text("\n".join([header, *rows]))


def test_boxes_in_the_order_of_the_splits(tmp_path):
    write(
        tmp_path,
        "1.jpg,test,cat,0,0,9,9,115.0,178.5,126,89,,,,",
        "2.jpg,val,cat,0,0,9,9,,,,,200,100,40,30",
        "3.jpg,train,cat,0,0,9,9,1,2,3,4,5,6,7,8",
        "4.jpg,test,cat,0,0,9,9,,,,,,,,",
    )
    nothing = [np.nan] * 4
    found = read_parts(tmp_path, ["val", "test"])
    np.testing.assert_array_equal(found[0], [nothing, [115, 178.5, 126, 89], nothing])
    np.testing.assert_array_equal(found[1], [[200, 100, 40, 30], nothing, nothing])


def test_what_is_refused(tmp_path):
    write(tmp_path, "1.jpg,test,cat,0,0,9,9", header=HEADER.split(",head", maxsplit=1)[0])
    with pytest.raises(ValueError, match=r"crops\.csv has no column head_h"):
        read_parts(tmp_path, ["test"])
    write(tmp_path, "1.jpg,test,cat,0,0,9,9,1,2,3,4,,,,", "2.jpg,test,cat,0,0,9,9,1,,3,4,,,,")
    with pytest.raises(ValueError, match=r"line 3: head is \['1', '', '3', '4'\]; allowed: four numbers"):
        read_parts(tmp_path, ["test"])
    with pytest.raises(FileNotFoundError):
        read_parts(tmp_path / "nowhere", ["test"])
