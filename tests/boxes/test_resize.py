import cv2
import numpy as np
import torch

from wsol.boxes.resize import bicubic


def test_agrees_with_opencv_and_torch() -> None:
    rng = np.random.default_rng(0)
    for shape in ((13, 13), (7, 10), (1, 1), (2, 3), (300, 260)):
        maps = rng.normal(size=(3, *shape)).astype(np.float32)
        ours = bicubic(maps, (224, 200))
        theirs = np.stack([cv2.resize(m, (200, 224), interpolation=cv2.INTER_CUBIC) for m in maps])
        torchs = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], (224, 200), mode="bicubic")[0].numpy()
        # OpenCV places source pixels in float32, so its weights are off by up to 1e-5 where it shrinks.
        assert np.abs(ours - theirs).max() < (2e-4 if shape[0] > 224 else 2e-5)
        assert np.abs(ours - torchs).max() < (2e-4 if shape[0] > 224 else 2e-5)


def test_the_same_size_is_the_same_map() -> None:
    maps = np.random.default_rng(1).normal(size=(2, 9, 8)).astype(np.float32)
    assert (bicubic(maps, (9, 8)) == maps).all()


def test_doubling_by_hand() -> None:
    # Half-pixel centres: target 1 lies at source 0.25. Keys' kernel with a = -0.75 at 1.25, 0.25, 0.75, 1.75:
    # w(1.25) = -0.10546875, w(0.25) = 0.87890625, w(0.75) = 0.26171875, w(1.75) = -0.03515625; border replicated.
    line = np.array([[[1, 2, 4, 8]]], np.float32)
    by_hand = -0.10546875 * 1 + 0.87890625 * 1 + 0.26171875 * 2 - 0.03515625 * 4
    assert bicubic(line, (1, 8))[0, 0, 1] == np.float32(by_hand)
