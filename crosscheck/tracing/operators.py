"""Every operator of torch without a rule: those that hold no products, and those that are refused, with the reason.

Of torch 2.0.1 to 2.15.0, all that reach a dispatch mode: aten's that torch does not decompose before
(torchgen/packaged/ATen/native/native_functions.yaml; autograd's too, since a forward may call backward), and of other
namespaces what holds no products. In-place forms and those of several tensors (``_foreach_``) go with the plain one.
An operator that is neither here nor in `aten_rules` is refused, so that a new one is never taken for 0.
"""

from __future__ import annotations

WITHOUT_PRODUCTS = frozenset(
    """
    __ilshift__ __irshift__ __lshift__ __rshift__ _adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward
    _add_relu _aminmax _amp_foreach_non_finite_check_and_unscale _amp_update_scale _assert_async _assert_scalar
    _assert_tensor_metadata _batch_norm_with_update_functional _chunk_cat _coalesce _coalesced _conj _conj_copy
    _conj_physical _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo _convert_weight_to_int4pack
    _convert_weight_to_int4pack_for_cpu _copy_from _copy_from_and_resize _cslt_compress _ctc_loss _ctc_loss_backward
    _cudnn_ctc_loss _cudnn_init_dropout_state _cudnn_rnn_flatten_weight _cummax_helper _cummin_helper _dimI _dimV
    _dirichlet_grad _dyn_quant_pack_4bit_weight _efficientzerotensor _embedding_bag_backward
    _embedding_bag_dense_backward _embedding_bag_forward_only _embedding_bag_per_sample_weights_backward
    _empty_affine_quantized _empty_per_channel_affine_quantized _fake_quantize_learnable_per_channel_affine
    _fake_quantize_learnable_per_channel_affine_backward _fake_quantize_learnable_per_tensor_affine
    _fake_quantize_learnable_per_tensor_affine_backward _fake_quantize_per_tensor_affine_cachemask_tensor_qparams
    _fill_mem_eff_dropout_mask _foobar _foreach_powsum _functional_assert_async _functional_assert_scalar
    _functional_sym_constrain_range _functional_sym_constrain_range_for_size _fused_adagrad _fused_adam _fused_adamw
    _fused_dropout _fused_moving_avg_obs_fq_helper _fused_moving_avg_obs_fq_helper_functional
    _fused_rms_norm_backward _fused_sdp_choice _fused_sgd _fw_primal _fw_primal_copy _grid_sampler_2d_cpu_fallback
    _grid_sampler_2d_cpu_fallback_backward _has_same_storage_numel _histogramdd_bin_edges _histogramdd_from_bin_cts
    _histogramdd_from_bin_tensors _index_put_impl _indices _indices_copy _is_all_true _is_any_true
    _jagged_to_padded_dense_forward _lazy_clone _linalg_check_errors _local_scalar_dense _log_softmax_backward_data
    _logcumsumexp _make_dep_token _make_dual _make_dual_copy _make_per_channel_quantized_tensor
    _make_per_tensor_quantized_tensor _masked_scale _masked_softmax _masked_softmax_backward _mkldnn_reshape
    _mkldnn_transpose _native_batch_norm_legit_functional _neg_view _neg_view_copy
    _nested_compute_contiguous_strides_offsets _nested_from_padded _nested_from_padded_and_nested_example
    _nested_from_padded_tensor _nested_get_jagged_dummy _nested_get_lengths _nested_get_max_seqlen
    _nested_get_min_seqlen _nested_get_offsets _nested_get_ragged_idx _nested_get_values _nested_get_values_copy
    _nested_select_backward _nested_sum_backward _nested_tensor_from_mask _nested_tensor_from_mask_left_aligned
    _nested_tensor_from_tensor_list _nested_tensor_offsets _nested_tensor_size _nested_tensor_softmax_with_shape
    _nested_tensor_storage_offsets _nested_tensor_strides _nested_view_from_buffer _nested_view_from_buffer_copy
    _nested_view_from_jagged _nested_view_from_jagged_copy _new_zeros_with_same_feature_meta _nnz
    _pack_padded_sequence _padded_dense_to_jagged_forward _philox_key_fold_in _philox_key_split _philox_normal
    _philox_randint _philox_uniform _pin_memory _prelu_kernel_backward _print _reshape_alias _reshape_alias_copy
    _reshape_copy _resize_output _sample_dirichlet _segment_reduce_backward _softmax_backward_data
    _sparse_broadcast_to _sparse_broadcast_to_copy _sparse_compressed_tensor_with_dims _sparse_coo_tensor_with_dims
    _sparse_coo_tensor_with_dims_and_tensors _sparse_csr_prod _sparse_csr_sum _sparse_log_softmax
    _sparse_log_softmax_backward_data _sparse_mask_projection _sparse_semi_structured_apply
    _sparse_semi_structured_apply_dense _sparse_semi_structured_tile _sparse_softmax _sparse_softmax_backward_data
    _sparse_sum _sparse_sum_backward _spdiags _stack _standard_gamma _standard_gamma_grad
    _test_autograd_multiple_dispatch _test_autograd_multiple_dispatch_view
    _test_autograd_multiple_dispatch_view_copy _test_functorch_fallback _test_optional_filled_intlist
    _test_optional_floatlist _test_optional_intlist _test_parallel_materialize _test_warn_in_autograd
    _thnn_fused_gru_cell _thnn_fused_gru_cell_backward _thnn_fused_lstm_cell _thnn_fused_lstm_cell_backward_impl
    _to_copy _to_dense _to_sparse _to_sparse_bsc _to_sparse_bsr _to_sparse_csc _to_sparse_csr
    _to_sparse_semi_structured _transform_bias_rescale_qkv _unique _unique2 _unsafe_index _unsafe_index_put
    _unsafe_masked_index _unsafe_masked_index_put_accumulate _unsafe_view _upsample_bicubic2d_aa_backward
    _upsample_bilinear2d_aa_backward _upsample_lanczos2d_aa _upsample_lanczos2d_aa_backward
    _upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward _upsample_nearest_exact3d_backward
    _use_cudnn_ctc_loss _use_miopen_ctc_loss _validate_compressed_sparse_indices _values _values_copy
    _weight_norm_interface _weight_norm_interface_backward acos acosh adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_avg_pool3d_backward adaptive_max_pool2d_backward adaptive_max_pool3d
    adaptive_max_pool3d_backward alias alias_copy all allclose amax amin aminmax angle any arange argmax argmin
    argsort as_strided as_strided_copy as_strided_scatter asin asinh atan atan2 atanh avg_pool1d avg_pool2d_backward
    avg_pool3d_backward bartlett_window batch_norm_backward batch_norm_backward_elemt batch_norm_backward_reduce
    batch_norm_elemt batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_stats
    batch_norm_update_stats bernoulli binary_cross_entropy binary_cross_entropy_backward
    binary_cross_entropy_with_logits bincount binomial bitwise_and bitwise_left_shift bitwise_not bitwise_or
    bitwise_right_shift bitwise_xor blackman_window block_diag bucketize cat cauchy ccol_indices ccol_indices_copy
    ceil channel_shuffle clamp clamp_max clamp_min clone col2im col_indices col_indices_copy complex conj_physical
    constant_pad_nd copy copy_sparse_to_sparse copysign cosh count_nonzero crow_indices crow_indices_copy
    cudnn_batch_norm_backward cudnn_grid_sampler cudnn_grid_sampler_backward cummax cummin cumprod cumsum deg2rad
    dense_dim dequantize detach detach_copy diag_embed diagonal diagonal_backward diagonal_copy diagonal_scatter
    digamma dist elu_backward embedding_dense_backward embedding_renorm empty empty_like empty_permuted
    empty_quantized empty_strided eq equal erfc erfinv expand expand_copy exponential eye
    fake_quantize_per_channel_affine_cachemask fake_quantize_per_tensor_affine_cachemask fft_fftfreq fft_rfftfreq
    fill flip floor floor_divide fmax fmin fmod frac fractional_max_pool2d fractional_max_pool2d_backward
    fractional_max_pool3d fractional_max_pool3d_backward frexp from_file full full_like gather gcd ge gelu_backward
    geometric glu_backward glu_backward_jvp glu_jvp grid_sampler_2d_backward grid_sampler_3d_backward gt
    hamming_window hann_window hardshrink hardshrink_backward hardsigmoid_backward hardswish_backward
    hardtanh_backward hash_tensor heaviside histc histogram huber_loss huber_loss_backward hypot i0 igamma igammac
    im2col index index_add index_copy index_fill index_put index_reduce index_select indices indices_copy int_repr
    is_coalesced is_pinned is_same_size is_set_to isin isinf isnan isneginf isposinf kaiser_window kthvalue lcm
    ldexp le leaky_relu_backward lgamma lift lift_fresh lift_fresh_copy linalg__powsum linalg_cross linspace log10
    log_normal log_sigmoid_backward log_softmax logaddexp logaddexp2 logcumsumexp logical_and logical_not logical_or
    logical_xor logit logit_backward logspace logsumexp lt lu_unpack masked_fill masked_scatter
    masked_scatter_backward masked_select max max_pool2d_backward max_pool2d_with_indices_backward
    max_pool3d_with_indices_backward max_unpool2d max_unpool3d median min miopen_batch_norm
    miopen_batch_norm_backward miopen_ctc_loss mkldnn_adaptive_avg_pool2d mkldnn_adaptive_avg_pool2d_backward
    mkldnn_max_pool2d mkldnn_max_pool2d_backward mkldnn_max_pool3d mkldnn_max_pool3d_backward
    mkldnn_reorder_conv2d_weight mkldnn_reorder_conv3d_weight mode mse_loss mse_loss_backward multi_margin_loss
    multi_margin_loss_backward multilabel_margin_loss_backward multilabel_margin_loss_forward multinomial mvlgamma
    nan_to_num nanmedian nansum narrow_copy native_batch_norm_backward native_dropout native_dropout_backward
    native_group_norm_backward native_layer_norm_backward native_norm ne new_empty new_empty_strided new_full
    new_ones new_zeros nextafter nll_loss2d_backward nll_loss2d_forward nll_loss_backward nll_loss_forward nonzero
    nonzero_static norm normal normal_functional ones ones_like permute permute_copy pixel_shuffle pixel_unshuffle
    poisson polar polygamma prod put q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale
    q_zero_point qscheme quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic quantized_batch_norm
    quantized_max_pool1d quantized_max_pool2d quantized_max_pool3d rad2deg rand rand_like randint randint_like randn
    randn_like random randperm range record_stream reflection_pad1d reflection_pad1d_backward reflection_pad2d
    reflection_pad2d_backward reflection_pad3d reflection_pad3d_backward remainder renorm repeat repeat_interleave
    replication_pad1d replication_pad1d_backward replication_pad2d replication_pad2d_backward replication_pad3d
    replication_pad3d_backward resize resize_as resize_as_sparse roll rot90 round row_indices row_indices_copy
    rrelu_with_noise_backward rrelu_with_noise_functional scalar_tensor scatter scatter_add scatter_reduce
    searchsorted segment_reduce select select_backward select_copy select_scatter set sgn shallow_copy_data
    sigmoid_backward sign signbit silu_backward sinc sinh slice slice_backward slice_copy slice_inverse
    slice_scatter smooth_l1_loss smooth_l1_loss_backward soft_margin_loss soft_margin_loss_backward softmax
    softplus_backward softshrink softshrink_backward sort sparse_compressed_tensor sparse_coo_tensor sparse_dim
    sparse_mask sparse_resize sparse_resize_and_clear special_airy_ai special_bessel_j0 special_bessel_j1
    special_bessel_y0 special_bessel_y1 special_chebyshev_polynomial_t special_chebyshev_polynomial_u
    special_chebyshev_polynomial_v special_chebyshev_polynomial_w special_entr special_erfcx
    special_hermite_polynomial_h special_hermite_polynomial_he special_i0e special_i1 special_i1e
    special_laguerre_polynomial_l special_legendre_polynomial_p special_log_ndtr special_modified_bessel_i0
    special_modified_bessel_i1 special_modified_bessel_k0 special_modified_bessel_k1 special_ndtri
    special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1 special_shifted_chebyshev_polynomial_t
    special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v
    special_shifted_chebyshev_polynomial_w special_spherical_bessel_j0 special_xlog1py special_zeta split split_copy
    split_with_sizes split_with_sizes_copy squeeze squeeze_copy stack std std_mean sum sym_constrain_range
    sym_constrain_range_for_size t t_copy take tan tanh_backward threshold_backward to_mkldnn to_padded_tensor
    to_sparse to_sparse_bsc to_sparse_bsr to_sparse_csc to_sparse_csr topk trace transpose transpose_copy tril
    tril_indices triu triu_indices trunc unbind unbind_copy unfold unfold_backward unfold_copy uniform
    unique_consecutive unique_dim unique_dim_consecutive unsafe_split unsafe_split_with_sizes unsqueeze
    unsqueeze_copy upsample_bicubic2d_backward upsample_bilinear2d_backward upsample_linear1d_backward
    upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward
    upsample_trilinear3d_backward values values_copy var var_mean view view_as_complex view_as_complex_copy
    view_as_real view_as_real_copy view_copy where xlogy zero zeros zeros_like
    """.split()
)

_PRIMS = """
    _make_token _sink_tokens abs acos acosh add amax amin as_strided as_strided_scatter asin asinh atan atan2 atanh
    bessel_i0 bessel_i0e bessel_i1 bessel_i1e bessel_j0 bessel_j1 bitwise_and bitwise_not bitwise_or bitwise_xor
    broadcast_in_dim cat cbrt ceil clone collapse collapse_view conj conj_physical convert_element_type copy_strided
    copy_to cos cosh device_put digamma div empty empty_permuted empty_strided eq erf erf_inv erfc erfcx exp exp2
    expm1 fill floor fmax fmin fmod frexp full full_like gcd ge gt hypot igamma igammac imag iota isfinite item le
    lgamma log log10 log1p log2 lt maximum maximum_value minimum minimum_value mul ndtri ne neg nextafter normal pow
    prod real reciprocal remainder reshape resize rev round rsqrt scalar_tensor shift_left shift_right_arithmetic
    sign signbit sin sinh spherical_bessel_j0 split_dim sqrt squeeze sub sum tan tanh transpose trunc uniform var
    view_of view_of_dtype where xor_sum zeta
    """.split()

#: The same of other namespaces; collectives move and add what each rank has multiplied.
_WITHOUT_PRODUCTS_BESIDE_ATEN = frozenset(
    {
        *(f"prims::{name}" for name in _PRIMS),
        "torchvision::nms",
        "torchvision::roi_align",
        "torchvision::roi_pool",
        "torchvision::ps_roi_align",
        "torchvision::ps_roi_pool",
    }
)
#: What a tensor is asked for or made of itself, which of a nested one comes as an operator.
_OF_NESTED = frozenset(
    "size sym_size stride sym_stride numel sym_numel dim sym_storage_offset is_contiguous sym_is_contiguous "
    "is_strides_like_format is_non_overlapping_and_dense reshape contiguous chunk flatten unflatten to".split()
)
_NAMESPACES_WITHOUT_PRODUCTS = frozenset({"c10d", "_c10d_functional", "_c10d_functional_autograd", "prim", "profiler"})

REFUSED = {
    "a factorization or a solver, whose products are the library's choice": """
    _cholesky_solve_helper _compute_linear_combination _linalg_det _linalg_eigh _linalg_eigvals _linalg_slogdet
    _linalg_solve_ex _linalg_svd _spsolve cholesky cholesky_inverse cholesky_solve geqrf linalg_cholesky_ex
    linalg_eig linalg_eigvals linalg_householder_product linalg_inv_ex linalg_ldl_factor_ex linalg_ldl_solve
    linalg_lstsq linalg_lu linalg_lu_factor_ex linalg_lu_solve linalg_matrix_exp linalg_matrix_sqrth linalg_pinv
    linalg_polar linalg_qr linalg_solve_triangular ormqr triangular_solve
    """,
    "a backward pass": """
    _cdist_backward _chunk_grad_outputs_efficient_attention _cudnn_attention_backward _cudnn_rnn_backward
    _efficient_attention_backward _flash_attention_backward _pdist_backward
    _scaled_dot_product_cudnn_attention_backward _scaled_dot_product_efficient_attention_backward
    _scaled_dot_product_flash_attention_backward _scaled_dot_product_flash_attention_for_cpu_backward
    _scaled_dot_product_fused_attention_overrideable_backward _slow_conv2d_backward _sparse_mm_reduce_impl_backward
    convolution_backward convolution_backward_overrideable cudnn_affine_grid_generator_backward linear_backward
    lstm_mps_backward matmul_backward miopen_rnn_backward mkldnn_linear_backward mkldnn_linear_backward_input
    mkldnn_linear_backward_weights mkldnn_rnn_layer_backward mps_convolution_backward
    mps_convolution_transpose_backward
    """,
    "a kernel that does several layers' work, or multiplies what is packed": """
    _cslt_sparse_mm _sparse_semi_structured_addmm _sparse_semi_structured_linear _sparse_semi_structured_mm
    _cslt_sparse_mm_search _cudnn_attention_forward _cudnn_attention_forward_no_dropout_inplace _cudnn_rnn
    _efficient_attention_forward _flash_attention_forward _flash_attention_forward_no_dropout_inplace _lstm_mps
    _native_decoder_only_multi_head_attention _native_multi_head_attention
    _scaled_dot_product_attention_math_for_mps _transformer_decoder_only_layer_fwd _transformer_encoder_layer_fwd
    _triton_multi_head_attention _triton_scaled_dot_attention miopen_rnn quantized_gru quantized_lstm tensordot
    """,
}

_REASONS = {name: reason for reason, names in REFUSED.items() for name in names.split()}


def holds_none(name: str) -> bool:
    """Whether an operator holds no products: ``relu_`` of aten's, ``torchvision::nms`` of another namespace's."""
    if "::" in name:
        return name in _WITHOUT_PRODUCTS_BESIDE_ATEN or name.partition("::")[0] in _NAMESPACES_WITHOUT_PRODUCTS
    return not {name, plain(name)}.isdisjoint(WITHOUT_PRODUCTS | _OF_NESTED)


def plain(name: str) -> str:
    """The operator that an in-place form, or one of several tensors, is a form of."""
    return name.removeprefix("_foreach_").removesuffix("_")


def why_refused(name: str) -> str:
    """What ``aten::linalg_qr`` is that it has no rule; empty of what is in no list."""
    name = name.removeprefix("aten::")
    return _REASONS.get(name) or _REASONS.get(plain(name), "")
