/* onnx_seeds: sound files for tests that damage them, and what a graph has to be whatever file it came from. */
#pragma once

#include "graph/graph.h"
#include "onnx_text.h"

/* One of everything, so that damage hits every kind of field. */
static const char sound[] =
	"opset 10; in x N,3,8,8; f32 w 4,3,3,3; f32 b 4; i64 shape 2=0,-1; f32 g 64,5; f16 h 5; "
	"node Conv conv x,w,b c pads=[1,1,1,1]; node Clip act c d min=0.0 max=6.0; "
	"node MaxPool pool d e kernel_shape=[2,2] strides=[2,2] ceil_mode=1; "
	"node AveragePool pool2 e f kernel_shape=[2,2] auto_pad=SAME_UPPER; "
	"node BatchNormalization bn f,b,b,b,b i epsilon=0.001; node Sigmoid s i j; node Mul m i,j "
	"k; "
	"node Concat cat k,i l axis=1; node Transpose t l n perm=[0,2,3,1]; "
	"node Constant con - kk value=f32:8=1,2,3,4,5,6,7,8; node Add a kk,n o; "
	"node Pad p o q pads=[0,0,1,1,0,0,1,1]; node Constant con2 - sh value_ints=[1,-1,64]; "
	"node GlobalAveragePool gap d z; node Mul se z,d v; node Reshape rs v,shape u; "
	"node Reshape rs2 u,sh u2; node MatMul mm u2,g t1; node Add ad h,t1 t2; "
	"node Split sp t2 s1,s2 axis=2; i64 from 2=0,-1; i64 to 2=9,-9; i64 on 2=1,2; i64 by 2=2,-1; "
	"node Slice sl s1,from,to,on,by s3; i64 at -=0; node Gather ga s2,at s4 axis=1; node Div di s3,half s5; "
	"f32 half -=2; node Sub su s5,s5 s6; node Sum am s6,s3,s6 s7; "
	"node MaxPool mp s7 s8 kernel_shape=[2] pads=[1,0]; node Softmax sm s8 y axis=2; out y";

/* The same for what came later: functions, reductions, tables of indices, arithmetic with shapes. */
static const char later[] =
	"opset 18; in x N,4,6,6; f32 w 4,2,3,3; node ConvTranspose ct x,w c strides=[2,2] pads=[1,1,0,0] group=2; "
	"f32 up 4=1,1,1.5,0.5; node Resize rs c,-,up d mode=linear; node Resize r2 x,-,up d2 mode=cubic; "
	"i64 pads 8=0,0,2,0,0,0,-1,2; node Pad p d,pads e mode=reflect; node Erf er e f; node Elu el f g alpha=0.5; "
	"i64 axes 2=1,-1; node ReduceMax rm g,axes h keepdims=0; node ReduceLogSumExp rl g,axes i keepdims=0; "
	"node Div di h,i j; node Pow po j,two k; i64 two -=2; node LogSoftmax ls k l axis=-1; "
	"node Shape sh g s; i64 one 1=1; i64 at 2=3,-2; node Gather ga s,at s2 axis=0; node Concat co one,one,s2 s3 axis=0; "
	"node Equal eq s3,one s4; node Where wh s4,s3,one s5; node ConstantOfShape cs s5 o value=f32:1=0.5; "
	"node Mul mu g,o m; node Expand ex l,s6 n; i64 s6 3=2,1,1; i64 reps 3=1,3,1; node Tile ti n,reps q; "
	"f32 sc 8; node LayerNormalization ln m,sc r axis=-1; node DepthToSpace ds r t blocksize=2; "
	"f32 two2 1; node InstanceNormalization in t,two2,two2 u; node LRN lr u v size=3; node ArgMin am v a axis=2; "
	"i64 perm 3=2,0,2; node Gather g2 a,perm b axis=3; node MatMul mm b,z z1; node Transpose tr b z perm=[0,1,3,2]; "
	"node Max mx z1,z1 z2; node Range ra ra0,ra1,ra2 z3; f32 ra0 -=0; f32 ra1 -=4; f32 ra2 -=1.5; "
	"node PRelu pr z2,z3 y; f32 w2 4,3,2,2; node ConvTranspose c2 g,w2 g3 strides=[2,2]; "
	"f32 qs 1=0.1; u8 qz 1=128; node QuantizeLinear ql g,qs,qz g4; node DequantizeLinear dl g4,qs,qz g5; "
	"i8 qw 3,4,1,1=1,2,3,4,5,6,7,8,-9,10,-11,12; f32 qws 3=1,2,3; node DequantizeLinear dw qw,qws qf axis=0; node Conv qc g5,qf g6; "
	"i64 deep 1=2; node Unsqueeze us c,deep v1; i64 five 5=1,1,3,1,1; node Tile t5 v1,five v2; f32 w3 2,4,2,3,3; "
	"node Conv c3 v2,w3 v3 strides=[1,2,2] pads=[1,0,1,0,0,1]; node MaxPool m3 v3 v4 kernel_shape=[2,2,2] pads=[1,0,0,0,0,0]; "
	"node AveragePool a3 v4 v5 kernel_shape=[2,1,1] pads=[1,0,0,0,0,0]; i64 top 1=2; node TopK tk v5,top v6,v7 axis=-1; "
	"f32 w5 2,1,2,2,2; node ConvTranspose c5 v4,w5 v8 strides=[2,1,1] output_padding=[1,0,0]; node Flatten fl x x2; f32 gw 144,4; "
	"node Gemm ge x2,gw x3; node Gemm gf x2,gw,x3 x4 beta=0.5; i64 pb 2=2,-3; i64 pe 2=3,5; node Pow pi pb,pe pz; "
	"node Less ls z1,z2 bo; node Not nt bo bn; node Xor xo bo,bn bx; node Where wh bx,z1,z2 x5; "
	"node Einsum ei x2,x2 x6 equation=ab,cb->ca; out x6; "
	"out x5; out y; out q; out d2; out g3; out g6; out v6; out v7; out v8; out x4";

/* Every invariant of the public header that a damaged file could have broken. */
static inline bool keeps_promises(const struct kerf_graph *g)
{
	bool good = g->n_nodes > 0 && g->input >= 0 && g->input < g->n_tensors && g->output >= 0 &&
		g->output < g->n_tensors;

	for (int i = 0; i < g->n_tensors; i++)
		for (int d = 0; d < g->tensors[i].n_dims; d++)
			good = good && g->tensors[i].dims[d] > 0;
	for (int i = 0; good && i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];

		good = n->n_inputs <= KERF_MAX_INPUTS && g->tensors[n->output].producer == i;
		for (int j = 0; good && j < n->n_inputs; j++)
			good = n->inputs[j] < g->n_tensors &&
				(n->inputs[j] < 0 || g->tensors[n->inputs[j]].producer < i);
	}
	return good;
}
