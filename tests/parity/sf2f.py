"""Parity checks of sf2f by kind of case."""

from parity.check_registry import CheckRegistry, case_check

CHECKS = CheckRegistry(
    {
        "attention_variants": case_check("sf2f_networks", arrays=["in_query", "in_context"]),
        "dataset_rules": case_check(
            "sf2f_data", arrays=["in_mel", "out_same"], config=["split_json", "loaded"]
        ),
        "decoder_facegan": case_check("sf2f_networks", arrays=["in_emb", "out_fc"]),
        "decoder_facegan_v2": case_check("sf2f_networks", arrays=["in_emb", "out_low", "out_mid"]),
        "decoder_v2f": case_check("sf2f_networks", arrays=["in_emb", "out_first"]),
        "disc_identity": case_check("sf2f_discriminators", arrays=["out_eval_real", "out_eval_ce"]),
        "disc_image": case_check("sf2f_discriminators", arrays=["out_eval_score"]),
        "encdec": case_check("sf2f_networks", arrays=["in_mel", "out_emb", "out_img0"]),
        "facenet_loss": case_check("sf2f_faces", arrays=["in_x", "in_y", "out_components", "out_loss"]),
        "fuser_v1": case_check("sf2f_networks", arrays=["in_b", "out_b_attended"]),
        "image_ops": case_check("sf2f_faces", arrays=["in_image", "in_generated", "out_transform"]),
        "inception_resnet_v1": case_check("sf2f_faces", arrays=["out_a", "out_a_pooled", "out_resized"]),
        "inception_score_fid": case_check("sf2f_faces", arrays=["in_probs", "in_act_real", "in_act_fake"]),
        "losses_gan_l1": case_check("sf2f_losses", arrays=["in_extreme", "in_gp_real"]),
        "optional_decoder_attn": case_check("sf2f_networks", arrays=["in_emb", "in_seq"]),
        "optional_decoder_mr": case_check("sf2f_networks", arrays=["in_emb", "out_0", "out_1"]),
        "optional_disc_conditional": case_check("sf2f_discriminators", arrays=["in_img", "in_cond"]),
        "optional_diversity_lpips": case_check("sf2f_faces", arrays=["in_a", "in_b", "out_self"]),
        "optional_fuser_v2_v3": case_check("sf2f_networks", arrays=["in_x", "out_v2", "out_v3"]),
        "retrieval": case_check("sf2f_faces", arrays=["in_dataset", "in_pred"]),
        "train_step": case_check("sf2f_step", arrays=["in_mel", "out_total", "out_disc0_first_weight_after"]),
        "logmel": case_check("sf2f_speech", arrays=["out_logmel", "out_filterbank", "out_windows"]),
        "vad": case_check("sf2f_speech", arrays=["in_wave", "out_decisions", "out_kept"]),
        "wen_logspec": case_check("sf2f_speech", arrays=["in_wave", "out_logspec", "out_filters"]),
        "vggface2_resnet50": case_check("sf2f_faces", arrays=["in_pcg", "out_softmax_top5"]),
        "vggface_score": case_check("sf2f_faces", arrays=["in_logits", "in_perm", "out_net_input0"]),
        "voice_encoder_inception": case_check("sf2f_networks", arrays=["in_0", "out_0_block0"]),
        "voice_encoder_plain": case_check("sf2f_networks", arrays=["in_a", "out_a_unnormalised"]),
        "wen_networks": case_check("sf2f_networks", arrays=["in_face", "out_real_score"]),
    }
)
