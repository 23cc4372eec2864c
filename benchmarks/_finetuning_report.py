METRICS = (
    ("top1_cls_err", ""),
    ("gt_known_loc_acc", "val"),
    ("gt_known_loc_acc", "oracle"),
    ("gt_known_loc_acc", "fixed"),
    ("top1_loc_err", "val"),
    ("top1_loc_err", "oracle"),
    ("max_box_acc_v2", "oracle"),
    ("mean_iou", "val"),
    ("pxap", ""),
    ("pointing_game", ""),
)
def write_report(folder): pass
