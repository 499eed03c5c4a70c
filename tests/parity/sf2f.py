"""Which check serves which case of sf2f."""

from parity.choice import Choice, check

CHOICE = Choice(
    {
        "facenet_loss": check("sf2f_faces", arrays=["in_x", "in_y", "out_components", "out_loss"]),
        "image_ops": check("sf2f_faces", arrays=["in_image", "in_generated", "out_transform"]),
        "inception_resnet_v1": check("sf2f_faces", arrays=["out_a", "out_a_pooled", "out_resized"]),
        "vad": check("sf2f_speech", arrays=["wave"]),
    }
)
